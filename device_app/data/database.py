"""SQLite databases that one person's processes share: opening, transactions, and steps from version to version.

The store of utterances and a host's database are two of them; each brings its own steps.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from editing.errors import StorageError

BUSY_S = 30.0  # how long to wait for another process that is writing

Migration = Callable[[sqlite3.Connection], None]


class LaterVersionError(StorageError):
    """A database has taken more steps than this asr-edge knows; `version` is how many (below 0: it is damaged)."""

    def __init__(self, path: Path, version: int) -> None:
        super().__init__(
            f"{path}: was made by a later asr-edge (version {version}); nothing was changed. Update asr-edge"
        )
        self.version = version


def connect(path: Path) -> sqlite3.Connection:
    """Opens a database, or makes an empty one that its owner alone can read, in a folder that exists.

    Transactions are the caller's: see `transaction`.

    Raises:
        sqlite3.Error, OSError: it cannot be opened or written.
    """
    if not path.exists():
        path.touch(0o600)  # SQLite gives its journals the mode of the database
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        _use_journal(connection)
        connection.execute("PRAGMA synchronous = FULL")  # a confirmed change survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")
        # Some builds of SQLite do so by default: what is deleted is overwritten, not only forgotten.
        connection.execute("PRAGMA secure_delete = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_journal(connection: sqlite3.Connection) -> None:
    """Readers and a writer do not wait for each other. SQLite waits for no other process here, so we do."""
    end = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Everything inside is written, or nothing. No other process writes meanwhile.

    Raises:
        sqlite3.OperationalError: another process writes for longer than `BUSY_S`, or the disk is full.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk ends it too
            connection.execute("ROLLBACK")
        raise


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> bool:
    """Takes the steps that are missing, each in one transaction with its own record in `PRAGMA user_version`.

    Returns:
        Whether any was missing.

    Raises:
        LaterVersionError: a later asr-edge has taken more steps than there are.
        sqlite3.Error: the disk is full, or the database is damaged.
    """
    taken = _version(connection)
    if not 0 <= taken <= len(migrations):
        raise LaterVersionError(path, taken)
    is_old = taken < len(migrations)
    while taken < len(migrations):
        with transaction(connection):
            taken = _version(connection)  # another process may have been faster while this one waited
            if taken < len(migrations):
                migrations[taken](connection)
                taken += 1
                connection.execute(f"PRAGMA user_version = {taken}")
    return is_old


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
