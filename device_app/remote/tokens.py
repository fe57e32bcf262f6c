"""Tokens that authenticate a device to a server. The server stores only their hashes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import TypeVar

PREFIX = "asr-edge-"  # lets people and scanners for leaked secrets recognise a token

Owner = TypeVar("Owner")


def make_token() -> str:
    """Creates a token of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """The hash of a token that a server stores. Tokens are random and long, so one round of SHA-256 suffices."""
    return hashlib.sha256(token.encode()).hexdigest()


def find_owner(token: str, hashes: Iterable[tuple[str, Owner]]) -> Owner | None:
    """The owner of a token, or None. Compares the token with all hashes, each in constant time.

    Args:
        token: as received.
        hashes: the hash and the owner of each valid token.
    """
    hashed = hash_token(token)
    found = None
    for known, owner in hashes:
        if hmac.compare_digest(known, hashed):
            found = owner
    return found
