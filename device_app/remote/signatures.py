"""What a host says of a task vector, and that it was the host who said it: Ed25519 over a JSON document.

The document is verified and then read, never the other way round, and is handed on as the text that
was signed, so that there is no second way to write it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from editing.errors import BadInputError
from editing.json_text import parse_json


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
    return record


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
