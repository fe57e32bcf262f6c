"""Signatures: only what the pinned key signed, and only if it is about what was asked for."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from device_app.remote.signatures import check, fingerprint, verified
from editing.errors import BadInputError

PRIVATE = Ed25519PrivateKey.generate()
KEY = base64.b64encode(PRIVATE.public_key().public_bytes_raw()).decode()
DOCUMENT = json.dumps({"vector": "a" * 64, "job": "1"})
SIGNATURE = base64.b64encode(PRIVATE.sign(DOCUMENT.encode())).decode()


def test_what_was_signed_is_read():
    assert verified(DOCUMENT, SIGNATURE, KEY) == {"vector": "a" * 64, "job": "1"}


@given(st.text(max_size=100), st.text(max_size=100), st.text(max_size=60))
def test_anything_else_is_refused(document, signature, key):
    for one in ((document, SIGNATURE, KEY), (DOCUMENT, signature, KEY), (DOCUMENT, SIGNATURE, key)):
        with pytest.raises(BadInputError, match="not signed by the host"):
            verified(*one)


def test_a_changed_byte_is_noticed():
    with pytest.raises(BadInputError, match="not signed"):
        verified(DOCUMENT.replace("1", "2"), SIGNATURE, KEY)
    other = base64.b64encode(Ed25519PrivateKey.generate().sign(DOCUMENT.encode())).decode()
    with pytest.raises(BadInputError, match="not signed"):
        verified(DOCUMENT, other, KEY)


def test_what_was_signed_for_something_else_is_refused():
    record = verified(DOCUMENT, SIGNATURE, KEY)
    check(record, {"job": "1"})
    with pytest.raises(BadInputError, match="for something else \\(base, job differ\\)"):
        check(record, {"base": "b", "job": "2"})


def test_a_fingerprint_is_of_key_and_authority():
    assert len({fingerprint("a", None), fingerprint("b", None), fingerprint("a", "pem"), fingerprint("a", "")}) == 4
    assert fingerprint("a", "pem") == fingerprint("a", "pem")
