"""Signatures: only what the pinned key signed, and only if it is about what was asked for."""

import base64
import json
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from device_app.remote.signatures import Signer, check, fingerprint, make_signing_key, verified
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


def test_what_a_signer_signs_is_verified_with_its_key(tmp_path):
    make_signing_key(tmp_path / "signing.pem")
    signer = Signer.open(tmp_path / "signing.pem", tmp_path / "authority.pem")
    document, signature = signer.sign({"job": "1", "text": "ü"})
    assert verified(document, signature, signer.key) == {"job": "1", "text": "ü"}
    assert signer.fingerprint == fingerprint(signer.key, None)
    (tmp_path / "authority.pem").write_text("pem")
    assert Signer.open(tmp_path / "signing.pem", tmp_path / "authority.pem").authority == "pem"


def test_a_signing_key_is_its_owners_alone_and_is_never_replaced(tmp_path):
    path = tmp_path / "signing.pem"
    make_signing_key(path)
    before = path.read_bytes()
    make_signing_key(path)
    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xff" * 100])
def test_a_file_that_is_no_signing_key_is_named(tmp_path, content):
    path = tmp_path / "signing.pem"
    with pytest.raises(BadInputError, match=r"signing.pem: there is no such key; 'asr-edge host init' makes one"):
        Signer.open(path, tmp_path / "authority.pem")
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"signing.pem: cannot be used"):
        Signer.open(path, tmp_path / "authority.pem")
