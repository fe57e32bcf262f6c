"""Signatures: a document is accepted only if the pinned key signed it and it answers the request."""

import base64
import json
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from device_app.remote.signatures import Signer, check_content, fingerprint, make_signing_key, verify_document
from editing.errors import BadInputError

PRIVATE = Ed25519PrivateKey.generate()
KEY = base64.b64encode(PRIVATE.public_key().public_bytes_raw()).decode()
DOCUMENT = json.dumps({"vector": "a" * 64, "job": "1"})
SIGNATURE = base64.b64encode(PRIVATE.sign(DOCUMENT.encode())).decode()


def test_a_signed_document_is_verified_and_parsed():
    assert verify_document(DOCUMENT, SIGNATURE, KEY) == {"vector": "a" * 64, "job": "1"}


@given(st.text(max_size=100), st.text(max_size=100), st.text(max_size=60))
def test_a_wrong_document_signature_or_key_is_refused(document, signature, key):
    for one in ((document, SIGNATURE, KEY), (DOCUMENT, signature, KEY), (DOCUMENT, SIGNATURE, key)):
        with pytest.raises(BadInputError, match="not signed by the host"):
            verify_document(*one)


def test_a_changed_document_or_another_signer_is_detected():
    with pytest.raises(BadInputError, match="not signed"):
        verify_document(DOCUMENT.replace("1", "2"), SIGNATURE, KEY)
    other = base64.b64encode(Ed25519PrivateKey.generate().sign(DOCUMENT.encode())).decode()
    with pytest.raises(BadInputError, match="not signed"):
        verify_document(DOCUMENT, other, KEY)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("not json", "is damaged (Expecting value: line 1 column 1 (char 0))"),
        (f'{{"job": {"1" * 5000}}}', "is damaged (an integer has thousands of digits)"),
        (f'{{"job": {"[" * 600}{"]" * 600}}}', "is damaged (nested too deep)"),
        (f'{{"job": {"[" * 100_000}{"]" * 100_000}}}', "is damaged (nested too deep)"),
        ("[1]", "is not a JSON object"),
    ],
)
def test_a_signed_document_that_cannot_be_read_does_not_blame_the_key(text, cause):
    signature = base64.b64encode(PRIVATE.sign(text.encode())).decode()
    with pytest.raises(BadInputError) as caught:
        verify_document(text, signature, KEY)
    assert str(caught.value).startswith(f"the document that the host signed {cause}; nothing was merged")


def test_a_document_signed_for_another_request_is_refused():
    record = verify_document(DOCUMENT, SIGNATURE, KEY)
    check_content(record, {"job": "1"})
    with pytest.raises(BadInputError, match="to another request \\(base, job differ\\)"):
        check_content(record, {"base": "b", "job": "2"})


def test_a_fingerprint_depends_on_key_and_authority():
    assert len({fingerprint("a", None), fingerprint("b", None), fingerprint("a", "pem"), fingerprint("a", "")}) == 4
    assert fingerprint("a", "pem") == fingerprint("a", "pem")


def test_a_document_of_a_signer_is_verified_with_its_key(tmp_path):
    make_signing_key(tmp_path / "signing.pem")
    signer = Signer.open(tmp_path / "signing.pem", tmp_path / "authority.pem")
    document, signature = signer.sign({"job": "1", "text": "ü"})
    assert verify_document(document, signature, signer.public_key) == {"job": "1", "text": "ü"}
    assert signer.fingerprint == fingerprint(signer.public_key, None)
    (tmp_path / "authority.pem").write_text("pem")
    assert Signer.open(tmp_path / "signing.pem", tmp_path / "authority.pem").authority == "pem"


def test_only_the_owner_can_read_a_signing_key_and_it_is_never_replaced(tmp_path):
    path = tmp_path / "signing.pem"
    make_signing_key(path)
    before = path.read_bytes()
    make_signing_key(path)
    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xff" * 100])
def test_a_missing_or_invalid_signing_key_is_named(tmp_path, content):
    path = tmp_path / "signing.pem"
    with pytest.raises(BadInputError, match=r"signing.pem: there is no such key; 'asr-edge host init' makes one"):
        Signer.open(path, tmp_path / "authority.pem")
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"signing.pem: cannot be used"):
        Signer.open(path, tmp_path / "authority.pem")


def test_an_authority_that_is_no_pem_is_named(tmp_path):
    make_signing_key(tmp_path / "signing.pem")
    (tmp_path / "authority.pem").write_bytes("Zertifikat für mich".encode())
    with pytest.raises(BadInputError, match=r"authority\.pem: cannot be used"):
        Signer.open(tmp_path / "signing.pem", tmp_path / "authority.pem")
