"""Deletes from the store: marks rows, removes their audio, then removes the rows, also from the journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from device_app.data.database import FullDiskError
from device_app.data.store import damage, reserve
from device_app.data.store.connection import Connection
from device_app.data.utterance import StoredUtterance
from editing.errors import StorageError
from editing.files import sha256


def delete(connection: Connection, utterances: Sequence[StoredUtterance]) -> None:
    """Deletes utterances and their audio, also from the quarantine. After a kill, `doctor` finishes the deletion.

    On a full disk, the journal of the database has no space before the reserve and the audio are gone: they go first.

    Raises:
        StorageError: a file cannot be deleted, or the recordings are missing.
    """
    try:
        _mark(connection, utterances)
    except FullDiskError:
        connection.check_audio_folder()
        reserve.release(connection.folder)
        _unlink([utterance.audio for utterance in utterances])
        _mark(connection, utterances)
    finish(connection)
    reserve.ensure(connection.folder)


def _mark(connection: Connection, utterances: Sequence[StoredUtterance]) -> None:
    hashes = {utterance.sha256 for utterance in utterances}
    with connection.transaction():
        connection.check_audio_folder()
        connection.sql.executemany(
            "UPDATE utterance SET deleted = 1 WHERE id = ?", [(utterance.number,) for utterance in utterances]
        )
        connection.quarantine.forget(lambda record: record.get("sha256") in hashes)


def delete_from_quarantine(connection: Connection, is_deleted: Callable[[Mapping[str, Any]], bool]) -> None:
    """Deletes records of the quarantine and their audio.

    Raises:
        StorageError: as `delete`.
    """
    with connection.transaction():
        connection.quarantine.forget(is_deleted)
    finish(connection)


def delete_everything(connection: Connection) -> None:
    """Deletes all utterances, all files of the audio folder and the quarantine, and the hashes of held-out recordings.

    Raises:
        StorageError: a file cannot be deleted, or the recordings are missing.
    """
    rows = connection.sql.execute("SELECT file FROM utterance").fetchall()
    try:
        _mark_all(connection)
    except FullDiskError:
        connection.check_audio_folder()
        reserve.release(connection.folder)
        _unlink([connection.audio_folder / file for (file,) in rows])
        _mark_all(connection)
    finish(connection)
    for folder in (connection.audio_folder, connection.quarantine.folder):
        _unlink([path for path in folder.rglob("*") if not path.is_dir()])
    with connection.transaction():
        for table in ("tested", "speaker_split"):
            connection.sql.execute(f"DELETE FROM {table}")  # noqa: S608
    connection.sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def finish(connection: Connection) -> None:
    """Removes the audio and the rows of utterances that are marked as deleted.

    It also removes copies of the database from before a migration, damaged ones in the quarantine, and files that a
    killed process has left half-written, because they contain what was deleted.

    Raises:
        StorageError: a file cannot be deleted, or the recordings are missing.
    """
    connection.check_audio_folder()  # files on a disk that is not mounted cannot be deleted
    with connection.transaction():  # otherwise another process may be writing one of the files
        path, quarantine = connection.path, connection.quarantine
        _unlink([*damage.copies_of(path), *damage.unfinished_copies_of(path), *connection.half_written()])
        _unlink([*damage.copies_in_quarantine(path, quarantine.folder), *quarantine.half_written()])
    remove_marked(connection)


def remove_marked(connection: Connection) -> None:
    """Removes the audio of utterances that are marked, then their rows.

    A killed import leaves files without rows, and the same import again writes others: those copies go too.
    """
    rows = connection.sql.execute("SELECT id, file, sha256 FROM utterance WHERE deleted = 1").fetchall()
    _unlink([connection.audio_folder / file for _, file, _ in rows])
    with connection.transaction():
        kept = {row[0] for row in connection.sql.execute("SELECT sha256 FROM utterance WHERE deleted = 0")}
        hashes = {digest for *_, digest in rows} - kept
        if hashes:
            _unlink([path for path in connection.unknown_files() if sha256(path) in hashes])
        remove_rows(connection.sql, [row[0] for row in rows])
    # The journal may still contain the deleted rows.
    connection.sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _mark_all(connection: Connection) -> None:
    with connection.transaction():
        connection.check_audio_folder()
        connection.sql.execute("UPDATE utterance SET deleted = 1")


def _unlink(paths: Sequence[Path]) -> None:
    try:
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"{error.filename}: cannot be deleted ({error.strerror}); check that you may write to its folder, and "
            "delete again"
        ) from error


def remove_rows(sql: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Removes rows of utterances, and the domains and speakers that no other utterance has."""
    sql.executemany("DELETE FROM utterance WHERE id = ?", [(number,) for number in numbers])
    for table in ("domain", "speaker"):
        named = f"SELECT {table}_id FROM utterance WHERE {table}_id IS NOT NULL"  # noqa: S608
        sql.execute(f"DELETE FROM {table} WHERE id NOT IN ({named})")  # noqa: S608
