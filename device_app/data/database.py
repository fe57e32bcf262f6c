"""SQLite databases that several processes of one user share: opening, transactions and migrations.

The store of utterances and a host's database use it, each with its own migrations.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from editing.errors import StorageError

BUSY_S = 30.0  # the longest wait for another process that is writing
MIN_FREE_BYTES = 64 << 10  # bytes; SQLite needs about half of that to open a database that nobody else has open

Migration = Callable[[sqlite3.Connection], None]


class CorruptError(sqlite3.DatabaseError):
    """Damage of a database that SQLite does not notice. It has the error code that SQLite uses for damage."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    sqlite_errorname = "SQLITE_CORRUPT"


class LaterVersionError(StorageError):
    """A database has more migrations than this asr-edge knows; `version` is their number (below 0: it is damaged)."""

    def __init__(self, path: Path, version: int, known: int) -> None:
        super().__init__(
            f"{path}: was written by a later version of asr-edge (format {version}; this one reads up to "
            f"{known}); nothing was changed. Update asr-edge"
        )
        self.version = version


class FullDiskError(StorageError):
    """The disk of a database is full; nothing was changed."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: cannot be written (the disk is full); nothing was changed; free some space. "
            "'asr-edge dataset delete' works on a full disk too"
        )


def connect(path: Path) -> sqlite3.Connection:
    """Opens a database in an existing folder, or creates an empty one that only its owner can read.

    It starts no transaction: see `transaction`. On a full disk, it locks the database: no other process can use it
    until the connection is closed.

    Raises:
        sqlite3.Error, OSError: it cannot be opened or written.
    """
    if not path.exists():
        path.touch(0o600)  # SQLite gives its journals the mode of the database
    try:
        return _connect(path)
    except sqlite3.OperationalError:
        if not is_full(path):
            raise
        return _connect(path, exclusive=True)


def is_full(path: Path) -> bool:
    """Whether the disk of a file has no space left for the journal of a database."""
    return shutil.disk_usage(path.parent).free < MIN_FREE_BYTES


def _connect(path: Path, *, exclusive: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        if exclusive:  # then the index of the journal is in memory, and needs no file
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        _use_journal(connection, path)
        connection.execute("PRAGMA synchronous = FULL")  # a confirmed change survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")
        # Overwrite deleted content with zeros; only some builds of SQLite do so by default.
        connection.execute("PRAGMA secure_delete = ON")
    except UnicodeDecodeError as error:  # raised for an error message of SQLite that quotes a damaged schema
        connection.close()
        raise CorruptError("its schema is damaged: a text in it is not UTF-8") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _use_journal(connection: sqlite3.Connection, path: Path) -> None:
    """Selects write-ahead logging, so that readers and a writer do not block each other.

    SQLite's timeout does not apply to this statement, so this function retries.
    """
    end = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > end or is_full(path) or not os.access(path.parent, os.W_OK):
                raise
            time.sleep(0.05)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Runs a block in a transaction: all of its changes are written, or none. No other process writes meanwhile.

    Raises:
        sqlite3.OperationalError: another process writes for longer than `BUSY_S`, or the disk is full.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> bool:
    """Runs the missing migrations, each in one transaction that also updates `PRAGMA user_version`.

    Returns:
        Whether any was missing.

    Raises:
        LaterVersionError: a later version of asr-edge has run more migrations.
        sqlite3.Error: the disk is full, or the database is damaged.
    """
    version = _version(connection)
    if not 0 <= version <= len(migrations):
        raise LaterVersionError(path, version, len(migrations))
    is_old = version < len(migrations)
    while version < len(migrations):
        with transaction(connection):
            version = _version(connection)  # another process may have migrated while this one waited
            if version < len(migrations):
                migrations[version](connection)
                version += 1
                connection.execute(f"PRAGMA user_version = {version}")
    return is_old


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
