"""Ed25519 signatures of the JSON documents in which a host describes its task vectors.

A document is always verified before it is parsed. It is stored and sent as the signed text, so that
its signature does not depend on how JSON is serialised.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from editing.errors import BadInputError, one_line
from editing.files import write_atomically
from editing.former_names import STATEMENT, translated
from editing.json_text import JSONTextError, parse_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True)
class Signer:
    """Signs the documents of a host.

    Attributes:
        private_key: the host's private key.
        public_key: its public key, base64.
        authority: the certificate of the host's own authority (PEM), if it has one.
    """

    private_key: Ed25519PrivateKey
    public_key: str
    authority: str | None

    @classmethod
    def open(cls, path: Path, authority: Path) -> Self:
        """Reads a signing key.

        Args:
            path: file of the key (PEM), as written by `make_signing_key`.
            authority: file of the certificate (PEM) of the host's own authority; need not exist.

        Raises:
            BadInputError: there is no such key, or it or the certificate cannot be read.
        """
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        try:
            private_key = serialization.load_pem_private_key(path.read_bytes(), None)
            if not isinstance(private_key, Ed25519PrivateKey):
                raise ValueError("it is not an Ed25519 key")
        except FileNotFoundError:
            raise BadInputError(f"{path}: there is no such key; 'asr-edge host init' makes one") from None
        except (OSError, ValueError, TypeError) as error:
            raise BadInputError(f"{path}: cannot be used ({error})") from error
        public_key = base64.b64encode(private_key.public_key().public_bytes_raw()).decode()
        try:
            certificate = authority.read_text("ascii") if authority.is_file() else None
        except (OSError, ValueError) as error:
            raise BadInputError(f"{authority}: cannot be used ({error})") from error
        return cls(private_key, public_key, certificate)

    @property
    def fingerprint(self) -> str:
        """The fingerprint that people compare."""
        return fingerprint(self.public_key, self.authority)

    def sign(self, content: Mapping[str, Any]) -> tuple[str, str]:
        """Serialises and signs the content of a document; returns the document and the signature."""
        document = json.dumps(content, sort_keys=True, ensure_ascii=False)
        return document, base64.b64encode(self.private_key.sign(document.encode())).decode()


def make_signing_key(path: Path) -> None:
    """Writes a new signing key (PEM) that only its owner can read; keeps an existing key.

    Raises:
        StorageError: it cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not path.is_file():
        form = serialization.PrivateFormat.PKCS8
        pem = Ed25519PrivateKey.generate().private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        write_atomically(path, pem, private=True)


def verify_document(document: str, signature: str, public_key: str) -> dict[str, Any]:
    """Verifies and parses a signed document.

    Args:
        document: JSON, as it was signed.
        signature: Ed25519, base64.
        public_key: the public key of the host, base64.

    Returns:
        The content of the document.

    Raises:
        BadInputError: the signature does not match, or the signed text is not a JSON object that can be read.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
        public.verify(base64.b64decode(signature, validate=True), document.encode())
    except (InvalidSignature, ValueError) as error:
        raise BadInputError(
            "the task vector is not signed by the host that this device trusts; nothing was merged. If the host has "
            "a new key, ask its owner for the fingerprint and run 'asr-edge host trust URL'"
        ) from error
    try:
        content = translated(parse_json(document), STATEMENT)
    except JSONTextError as error:
        raise BadInputError(
            f"the document that the host signed is damaged ({one_line(str(error))}); nothing was merged. Tell the "
            "owner of the host"
        ) from error
    if not isinstance(content, dict):
        raise BadInputError("the document that the host signed is not a JSON object; nothing was merged")
    return content


def check_content(content: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Checks that a signed document answers the request.

    Raises:
        BadInputError: a value differs from the expected one.
    """
    wrong = [name for name, value in expected.items() if content.get(name) != value]
    if wrong:
        raise BadInputError(
            f"the host signed an answer to another request ({', '.join(wrong)} differ); nothing was merged"
        )


def fingerprint(public_key: str, authority: str | None) -> str:
    """The fingerprint of a host that people compare: SHA-256 over its signing key and its certificate authority.

    Args:
        public_key: the public key of the host, base64.
        authority: the certificate of its own authority (PEM); None if it uses a public one.
    """
    digest = hashlib.sha256(json.dumps([public_key, authority]).encode()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
