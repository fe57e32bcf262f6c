"""Consistent copies of the store's database while other processes write, and checks of a copy from elsewhere."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from device_app.data import database
from device_app.data.store import damage
from device_app.data.store.connection import DATABASE, Connection
from device_app.data.store.deletion import remove_rows
from device_app.data.store.migrations import MIGRATIONS
from editing.errors import BadInputError, BlockedError, StorageError


@dataclass(frozen=True)
class Snapshot:
    """The store at one moment.

    Attributes:
        database: a complete SQLite file, without utterances that are being deleted.
        files: the recordings that it names, relative to the audio folder.
    """

    database: bytes
    files: list[str]


def named_files(folder: Path) -> list[str]:
    """The recordings that the utterances of the store in a folder name, relative to its audio folder.

    Raises:
        StorageError: it cannot be opened, is damaged, or its recordings are missing.
    """
    connection = Connection(folder)
    with closing(connection.sql):
        connection.check_audio_folder()
        return _files(connection.sql)


@contextmanager
def frozen(folder: Path) -> Iterator[Snapshot]:
    """Copies the database of the store in a folder; no process changes the store until the block ends.

    Raises:
        StorageError: it cannot be opened, is damaged, or another process writes for long.
    """
    connection = Connection(folder)
    with (
        closing(connection.sql),
        connection.transaction(),
        closing(sqlite3.connect(":memory:", isolation_level=None)) as copy,
    ):
        with closing(sqlite3.connect(connection.path)) as source:
            source.backup(copy)
        if problems := damage.damage_of(copy):
            raise damage.DamagedDatabaseError(connection.path, problems[0])
        remove_rows(copy, [row[0] for row in copy.execute("SELECT id FROM utterance WHERE deleted = 1")])
        copy.execute("VACUUM")  # what was deleted leaves the file too
        yield Snapshot(copy.serialize(), _files(copy))


def _files(sql: sqlite3.Connection) -> list[str]:
    return [str(row[0]) for row in sql.execute("SELECT file FROM utterance WHERE deleted = 0 ORDER BY id")]


@contextmanager
def write_locked(path: Path) -> Iterator[None]:
    """Keeps other processes from writing to a database until the block ends.

    A missing or damaged database needs no lock, because no process can write to it.

    Raises:
        BlockedError: another process has been writing for `database.BUSY_S`.
    """
    try:
        damage.check_journal(path)  # first, because SQLite would remove a damaged one
        sql = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
    except (sqlite3.Error, UnicodeDecodeError):
        yield
        return
    with closing(sql):
        try:
            sql.execute(f"PRAGMA busy_timeout = {round(database.BUSY_S * 1000)}")
            sql.execute("BEGIN IMMEDIATE")
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if isinstance(error, sqlite3.Error) and damage.is_locked(error):
                raise BlockedError(
                    f"{path}: another asr-edge is writing to it; nothing was changed. Wait until it has finished"
                ) from error
        yield
        if sql.in_transaction:
            sql.execute("ROLLBACK")


def check_foreign_database(path: Path, what: str) -> None:
    """Checks an untrusted database before a `Store` opens it: no triggers or views, no files outside the store.

    Args:
        path: the database, without a journal.
        what: its name in error messages.

    Raises:
        BadInputError: it is damaged, or has tables, triggers or paths that a store does not have.
        StorageError: it was written by a later version of asr-edge, or the disk prevents that it is read.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as sql:
            sql.execute("PRAGMA trusted_schema = OFF")
            sql.execute("PRAGMA cell_size_check = ON")
            (version,) = sql.execute("PRAGMA user_version").fetchone()
            if version > len(MIGRATIONS):
                raise database.LaterVersionError(Path(what), version, len(MIGRATIONS))
            _check_schema(sql, what)
            if problems := damage.damage_of(sql):
                raise BadInputError(f"{what}: its database is damaged ({problems[0]}); nothing was changed")
            for name in _files(sql):
                inner = PurePosixPath(name)
                if inner.is_absolute() or os.pardir in inner.parts or len(inner.parts) > 2:
                    raise BadInputError(f"{what}: its database names a file outside the store; nothing was changed")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if isinstance(error, sqlite3.Error) and damage.is_of_disk(error):
            raise StorageError(
                f"{path}: cannot be read ({error}); nothing was changed. Check the disk, then try again"
            ) from error
        raise BadInputError(f"{what}: its database is damaged ({error}); nothing was changed") from error


def _check_schema(sql: sqlite3.Connection, what: str) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as known:
        for step in MIGRATIONS:
            step(known, Path())
        query = "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'"
        unknown = {*sql.execute(query)} - {*known.execute(query)}
    if unknown:
        raise BadInputError(f"{what}: its database has parts that a store does not have; nothing was changed")


def tidy_restored(folder: Path) -> None:
    """Opens a restored store, which migrates one of an earlier asr-edge, and removes recordings that no row names.

    Raises:
        StorageError: it cannot be opened.
    """
    audio = folder / "audio"
    if (folder / DATABASE).is_file():
        connection = Connection(folder)
        with closing(connection.sql):
            named = {audio / name for name in _files(connection.sql)}
            connection.sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    else:
        named = set()
    for path in audio.rglob("*"):
        if path.is_file() and path not in named:
            path.unlink()  # its utterance was deleted while the backup was made
