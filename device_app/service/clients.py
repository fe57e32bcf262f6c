"""The clients that may use the service beyond loopback: names, and the hashes of their tokens."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from device_app.paths import data_folder
from device_app.remote.tokens import find_owner, hash_token, make_token
from editing.errors import BadInputError, StorageError, one_line
from editing.files import cannot_read, cannot_write, write_atomically
from editing.json_text import JSONTextError, check_format_version, read_json
from editing.lock import locked
from editing.privacy import make_folder

FILE = "tokens.json"
FORMAT_VERSION = 1
MAX_BYTES = 1 << 20  # of the file
NAME_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")


def service_folder() -> Path:
    """The folder of the service's tokens and certificate."""
    return data_folder() / "service"


def folder_mark(folder: Path) -> str:
    """A hash of the path of a folder: it tells two folders apart, and does not show the path."""
    return hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]


class Clients:
    """The file of the clients. It is read at each use, so that new requests with a revoked token are refused.

    A request or a live connection that has begun is not interrupted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE

    def hashes(self) -> Mapping[str, str]:
        """The hash of each client's token, by the client's name.

        Raises:
            StorageError: the file is damaged, cannot be read, or is of a later version of asr-edge.
        """
        try:
            record = read_json(self._path, max_bytes=MAX_BYTES)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise cannot_read(self._path, error) from error
        except JSONTextError as error:
            raise self._damaged(error) from error
        try:
            check_format_version(record, FORMAT_VERSION, self._path)
            found = record["clients"]
            if not all(isinstance(name, str) and isinstance(hashed, str) for name, hashed in found.items()):
                raise ValueError("an entry is not a name with a hash")
        except (KeyError, ValueError, AttributeError) as error:
            raise self._damaged(error) from error
        return dict(found)

    def _damaged(self, error: Exception) -> StorageError:
        return StorageError(f"{self._path}: is damaged ({one_line(str(error))}); remove it, and add the tokens again")

    def find(self, token: str) -> str | None:
        """The name of the client with this token, or None.

        Raises:
            StorageError: as `hashes`.
        """
        return find_owner(token, ((hashed, name) for name, hashed in self.hashes().items()))

    def add(self, name: str) -> str:
        """Adds a client; returns its token, which is not stored.

        Raises:
            BadInputError: the name is not valid, or has a token already.
            StorageError: as `hashes`; or the file cannot be written.
        """
        if not NAME_PATTERN.fullmatch(name):
            raise BadInputError(f"{name!r}: must be 1 to 64 letters, digits, dots, dashes or underscores")
        token = make_token()
        with self._changing() as known:
            if name in known:
                raise BadInputError(f"{name} has a token already; 'asr-edge service token revoke {name}' revokes it")
            self._write({**known, name: hash_token(token)})
        return token

    def revoke(self, name: str) -> None:
        """Removes a client, whose token no longer works.

        Raises:
            BadInputError: there is no such client.
            StorageError: as `hashes`; or the file cannot be written.
        """
        with self._changing() as known:
            if name not in known:
                others = f"these have one: {', '.join(known)}" if known else "no client has one"
                raise BadInputError(f"{name!r} has no token; {others}")
            self._write({other: hashed for other, hashed in known.items() if other != name})

    @contextmanager
    def _changing(self) -> Iterator[Mapping[str, str]]:
        """Yields the hashes while this process alone may change the file; waits until it may.

        Raises:
            StorageError: as `hashes`; or the folder cannot be written.
        """
        lock = self._folder / f".{FILE}.lock"
        try:
            make_folder(self._folder)
            lock.touch(0o600)
        except OSError as error:
            raise cannot_write(self._path, error) from error
        with locked(lock, wait=True):
            yield self.hashes()

    def _write(self, clients: Mapping[str, str]) -> None:
        record = {"format_version": FORMAT_VERSION, "clients": dict(clients)}
        write_atomically(self._path, (json.dumps(record, indent=1) + "\n").encode(), private=True)
