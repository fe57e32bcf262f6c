"""Tokens that authenticate a device to a server. The server stores only their hashes."""

from __future__ import annotations

import getpass
import hashlib
import hmac
import secrets
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from editing.errors import BadInputError
from editing.json_text import read_bounded

PREFIX = "asr-edge-"  # lets people and scanners for leaked secrets recognise a token

MAX_FILE_BYTES = 4096  # bytes

Owner = TypeVar("Owner")


def make_token() -> str:
    """Creates a token of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def read_token(path: Path) -> str:
    """Reads a token from a file or from the terminal: as an argument, other users of the machine could see it.

    Args:
        path: a file with the token on its first line; "-" asks at the terminal without showing what is typed, or reads
            standard input.

    Raises:
        BadInputError: it cannot be read, or has no token.
    """
    try:
        if str(path) != "-":
            text = read_bounded(path, MAX_FILE_BYTES).decode()
        elif sys.stdin.isatty():
            text = getpass.getpass("Token: ")
        else:
            text = sys.stdin.readline(MAX_FILE_BYTES)
    except (OSError, ValueError, EOFError) as error:
        raise BadInputError(f"{path}: the token cannot be read ({error}); nothing was changed") from error
    token = text.partition("\n")[0].strip()
    if not token.isprintable() or not token.isascii() or not token or " " in token:
        raise BadInputError(f"{path}: its first line is not a token; nothing was changed")
    return token


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
