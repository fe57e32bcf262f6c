"""Tokens by which a server knows a device. The server stores only their hashes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import TypeVar

PREFIX = "asr-edge-"  # by which people, and programs that look for leaked secrets, recognise one

Owner = TypeVar("Owner")


def make_token() -> str:
    """A new token, of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """What a server stores of a token. Tokens are random and long, so one round of SHA-256 is as good as many."""
    return hashlib.sha256(token.encode()).hexdigest()


def find_owner(token: str, hashes: Iterable[tuple[str, Owner]]) -> Owner | None:
    """Whose token this is, if it is anybody's. All are compared, each in constant time.

    Args:
        token: as it came.
        hashes: of all tokens that are valid, each with its owner.
    """
    hashed = hash_token(token)
    found = None
    for known, owner in hashes:
        if hmac.compare_digest(known, hashed):
            found = owner
    return found
