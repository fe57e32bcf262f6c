"""Escapes untrusted text for printing, so that it cannot move the cursor, change colours or reorder other text."""

from __future__ import annotations

import codecs
import json
import re

ENCODING_ERRORS = "asr-edge-escape"  # for streams whose encoding lacks a character: "é" becomes \u00e9

# Control characters (C0, DEL, C1), line and paragraph separators, bidirectional controls, and the surrogates by which
# Python represents bytes that are not UTF-8. Joiners (Persian, emoji) are left as they are.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    r"""Replaces control and bidirectional characters by JSON escapes.

    A JSON document keeps its value if the line breaks between its values are kept.

    Args:
        text: any text, such as a file name, a domain, a device name or an error.
        keep: characters to leave, such as the line breaks of a text of several lines.

    >>> printable("a\x1b[31m\rb")
    'a\\u001b[31m\\rb'
    """
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return _escaped(error.object[error.start : error.end]), error.end


codecs.register_error(ENCODING_ERRORS, _escape_unencodable)
