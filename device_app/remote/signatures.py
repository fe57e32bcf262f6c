"""What a host says of a task vector, and that it was the host who said it: Ed25519 over a JSON document.

The document is verified and then read, never the other way round, and is handed on as the text that
was signed, so that there is no second way to write it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from editing.errors import BadInputError
from editing.files import write_atomically
from editing.former_names import STATEMENT, translated
from editing.json_text import parse_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True)
class Signer:
    """Signs what a host says.

    Attributes:
        private: the key it signs with.
        key: its public half, base64.
        authority: the host's own certificate authority (PEM), if it has one.
    """

    private: Ed25519PrivateKey
    key: str
    authority: str | None

    @classmethod
    def open(cls, path: Path, authority: Path) -> Self:
        """Reads a signing key.

        Args:
            path: of the key (PEM), as `make_signing_key` wrote it.
            authority: the certificate (PEM) of the host's own authority; the file need not exist.

        Raises:
            BadInputError: there is no such key, or it cannot be read.
        """
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        try:
            private = serialization.load_pem_private_key(path.read_bytes(), None)
            if not isinstance(private, Ed25519PrivateKey):
                raise ValueError("it is not of Ed25519")
        except FileNotFoundError:
            raise BadInputError(f"{path}: there is no such key; 'asr-edge host init' makes one") from None
        except (OSError, ValueError, TypeError) as error:
            raise BadInputError(f"{path}: cannot be used ({error})") from error
        public = base64.b64encode(private.public_key().public_bytes_raw()).decode()
        return cls(private, public, authority.read_text("ascii") if authority.is_file() else None)

    @property
    def fingerprint(self) -> str:
        """For people to compare."""
        return fingerprint(self.key, self.authority)

    def sign(self, record: Mapping[str, Any]) -> tuple[str, str]:
        """A record as the document that is signed, and the signature."""
        document = json.dumps(record, sort_keys=True, ensure_ascii=False)
        return document, base64.b64encode(self.private.sign(document.encode())).decode()


def make_signing_key(path: Path) -> None:
    """Writes a new key (PEM) to sign with, which only its owner can read; one that is there stays.

    Raises:
        StorageError: it cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not path.is_file():
        form = serialization.PrivateFormat.PKCS8
        pem = Ed25519PrivateKey.generate().private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        write_atomically(path, pem, private=True)


def verified(document: str, signature: str, key: str) -> dict[str, Any]:
    """What a signed document says.

    Args:
        document: JSON, as it was signed.
        signature, key: of Ed25519, base64.

    Raises:
        BadInputError: it was not signed with this key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
        public.verify(base64.b64decode(signature, validate=True), document.encode())
        record = parse_json(document)
    except (InvalidSignature, ValueError) as error:
        raise BadInputError(
            "the task vector is not signed by the host that this device trusts; nothing was merged. If the host has "
            "a new key, its owner can tell you its fingerprint: 'asr-edge host trust URL'"
        ) from error
    if not isinstance(record, dict):
        raise BadInputError("the host signed something that is not a record; nothing was merged")
    found: dict[str, Any] = translated(record, STATEMENT)
    return found


def check(record: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """
    Raises:
        BadInputError: what was signed is not about what was asked for.
    """
    wrong = [name for name, value in expected.items() if record.get(name) != value]
    if wrong:
        raise BadInputError(
            f"the host's answer is signed, but for something else ({', '.join(wrong)} differ); nothing was merged"
        )


def fingerprint(key: str, authority: str | None) -> str:
    """What people compare: SHA-256 over a host's signing key and its certificate authority.

    Args:
        key: the host's public key, base64.
        authority: the certificate of its own authority (PEM); None where it has a public one.
    """
    digest = hashlib.sha256(json.dumps([key, authority]).encode()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
