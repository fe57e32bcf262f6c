import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editing.printable import ENCODING_ERRORS, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", r"a\u001b[31mb"),
        ("a\rb\nc", r"a\rb\nc"),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        ("a\x9b2Jb\x7f", r"a\u009b2Jb\u007f"),
        ("caf\udce9.flac", r"caf\udce9.flac"),
        ("a\u2028b\u2066c", r"a\u2028b\u2066c"),
        ("[red]日本語 café\u00a0a\u200cb 👩\u200d🔧", "[red]日本語 café\u00a0a\u200cb 👩\u200d🔧"),
    ],
)
def test_only_control_and_bidirectional_characters_are_escaped(text, shown):
    assert printable(text) == shown


def test_line_breaks_can_be_kept():
    assert printable("a\tb\nc\r", keep="\n\t") == "a\tb\nc\\r"


@given(st.text() | st.binary().map(os.fsdecode))
def test_a_json_document_keeps_its_value(text):
    document = {text: [text]}
    shown = printable(json.dumps(document, ensure_ascii=False, indent=2), keep="\n")
    assert json.loads(shown) == document
    assert shown.replace("\n", "").encode()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_json_keeps_its_value_in_a_stream_whose_encoding_lacks_a_character(encoding):
    buffer = io.BytesIO()
    with io.TextIOWrapper(buffer, encoding, errors=ENCODING_ERRORS) as stream:
        stream.write(json.dumps("日本語 café 👩", ensure_ascii=False))
        stream.flush()
        assert json.loads(buffer.getvalue().decode(encoding)) == "日本語 café 👩"
