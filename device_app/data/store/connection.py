"""Opens the store's folder and database, runs transactions, and checks that the recordings are present."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from device_app.data import database
from device_app.data.store import damage
from device_app.data.store.migrations import migrate, schema_problem
from device_app.data.store.quarantine import Quarantine
from device_app.paths import DATA, LINKED
from editing.errors import BadInputError, StorageError
from editing.files import cannot_write
from editing.privacy import make_folder, private_folder

DATABASE = "store.sqlite3"
HIGHEST_VERSION = 1000  # a database with more migrations than this is damaged, not of a later asr-edge
# Below the audio folder, where recordings are in subfolders, as `editing.files` names what it writes.
HALF_WRITTEN = f"*/.*.{'[0-9a-f]' * 16}.tmp"
Table = Literal["domain", "speaker"]


class Connection:
    """An open store, for the other modules of this package.

    Attributes:
        folder: the folder of the store; only its owner can read it.
        path: the database.
        audio_folder: the folder of the recordings.
        quarantine: utterances and audio that were removed.
        sql: the connection to the database.
        was_migrated: whether opening ran migrations.
    """

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            StorageError: it cannot be opened or written, is damaged, or was written by a later version of asr-edge.
        """
        self.folder = folder
        self.path = folder / DATABASE
        self.audio_folder = folder / "audio"
        self.quarantine = Quarantine(folder)
        self._has_removed_half_written = False
        with self.opening():
            make_folder(private_folder(folder, DATA, LINKED))
            damage.check_journal(self.path)
            damage.check_not_lost(self.path, self.audio_folder)
            self.sql = database.connect(self.path)
            try:
                self._stat = self.path.stat()  # shows later whether another file has its place
                self.was_migrated = migrate(self.sql, self.path)
                damage.check_domains(self.sql)
            except BaseException as error:
                self.sql.close()
                if isinstance(error, database.LaterVersionError) and not 0 <= error.version <= HIGHEST_VERSION:
                    reason = f"it cannot be of version {error.version}"
                    raise damage.DamagedDatabaseError(self.path, reason) from error
                raise

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Reports errors of its block as a store that cannot be opened.

        Raises:
            DamagedDatabaseError: the database is damaged.
            FullDiskError: the disk is full.
            StorageError: another process is using the database, or the disk or the permissions prevent its use.
        """
        try:
            yield
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise cannot_write(self.folder, error) from error
        except sqlite3.Error as error:
            self.raise_storage_error(error, "opened")
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Runs a block in a transaction: all of its changes are written, or none. Only one process at a time writes.

        Raises:
            DamagedDatabaseError: the database is damaged.
            FullDiskError: the disk is full.
            StorageError: another process has been writing for long, or the database cannot be written.
        """
        try:
            with database.transaction(self.sql):
                self._check_not_replaced()
                yield
        except sqlite3.Error as error:
            self.raise_storage_error(error, "written")
            raise

    def raise_storage_error(
        self, error: sqlite3.Error, action: Literal["opened", "written", "used"], effect: str = "nothing was changed"
    ) -> None:
        """Raises what an error of SQLite means to the user; returns if it is an error of the program.

        Args:
            error: the error.
            action: what could not be done.
            effect: what happened to the store, for the message.

        Raises:
            DamagedDatabaseError: the database is damaged.
            FullDiskError: the disk is full.
            StorageError: another process is using the database, or the disk or the permissions prevent its use.
        """
        if damage.is_damage(error):
            raise damage.DamagedDatabaseError(self.path, str(error), effect) from error
        if damage.is_locked(error):
            raise damage.in_use(self.path, error) from error
        if damage.is_of_disk(error):
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL or database.is_full(self.path):
                raise database.FullDiskError(self.path) from error
            raise StorageError(
                f"{self.path}: cannot be {action} ({error}); {effect}. Check the disk, and that you may write to this "
                "folder"
            ) from error
        if damage.may_be_damage(error) and (problem := schema_problem(self.path)):
            raise damage.DamagedDatabaseError(self.path, f"{error}; {problem}", effect) from error

    def _check_not_replaced(self) -> None:
        """Checks that the open database is still that of the data folder.

        Raises:
            StorageError: the data folder was restored from a backup since the database was opened.
        """
        try:
            is_same = os.path.samestat(self.path.stat(), self._stat)
        except FileNotFoundError:
            is_same = False
        if not is_same:
            raise StorageError(
                f"{self.path}: was replaced while this command ran; nothing was changed. Start the command again"
            )

    def ensured_id(self, table: Table, name: str) -> int:
        """The row id of a domain or a speaker, which is created if there is none."""
        self.sql.execute(f"INSERT INTO {table} (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))  # noqa: S608
        row = self.sql.execute(f"SELECT id FROM {table} WHERE name = ?", (name,)).fetchone()  # noqa: S608
        return int(row[0])

    def existing_id(self, table: Table, name: str) -> int:
        """The row id of a domain or a speaker.

        Raises:
            BadInputError: there is none of this name.
        """
        row = self.sql.execute(f"SELECT id FROM {table} WHERE name = ?", (name,)).fetchone()  # noqa: S608
        if row is None:
            names = [r[0] for r in self.sql.execute(f"SELECT name FROM {table} ORDER BY name LIMIT 20")]  # noqa: S608
            raise BadInputError(f"there is no {table} {name!r}; there are {', '.join(names) or 'none yet'}")
        return int(row[0])

    def check_audio_folder(self) -> None:
        """Checks that the folder of the recordings is there.

        Raises:
            StorageError: there are utterances but no recordings, most likely because their disk is not mounted.
        """
        if self.is_audio_missing():
            raise StorageError(
                f"{self.audio_folder}: the recordings are missing; nothing was changed. Is the disk mounted? "
                "'asr-edge doctor' says what is missing, and how to continue without it"
            )

    def prepare_audio_folder(self) -> None:
        """Makes the folder of the recordings ready for more. Call it in a transaction: others write files in theirs.

        It removes what a process that was killed has left half-written.

        Raises:
            StorageError: as `check_audio_folder`.
        """
        self.check_audio_folder()
        if not self._has_removed_half_written:
            for path in self.half_written():
                with suppress(OSError):  # the next process tries it again
                    path.unlink()
            self._has_removed_half_written = True

    def half_written(self) -> list[Path]:
        """Recordings that a killed process has left half-written. Call it in a transaction: others write in theirs."""
        return list(self.audio_folder.glob(HALF_WRITTEN))

    def unknown_files(self) -> list[Path]:
        """Files in the audio folder to which no row refers. Call it in a transaction: others write files in theirs."""
        known = {row[0] for row in self.sql.execute("SELECT file FROM utterance")}
        files = sorted(path for path in self.audio_folder.rglob("*") if path.is_file())
        return [path for path in files if path.relative_to(self.audio_folder).as_posix() not in known]

    def is_audio_missing(self) -> bool:
        """Whether there are utterances but no recordings."""
        is_empty = not self.audio_folder.is_dir() or next(self.audio_folder.iterdir(), None) is None
        return is_empty and self.sql.execute("SELECT 1 FROM utterance").fetchone() is not None
