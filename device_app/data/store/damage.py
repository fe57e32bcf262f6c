"""Recognises a damaged database, and copies or removes it."""

from __future__ import annotations

import secrets
import sqlite3
import struct
import time
from datetime import UTC, datetime
from pathlib import Path

from device_app.data.database import CorruptError
from editing.errors import StorageError
from editing.files import cannot_write, write_atomically

MAX_PROBLEMS = 20  # after so many, SQLite stops looking for more
JOURNAL_HEADER = 32  # bytes; format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
JOURNAL_MAGIC = 0x377F0682  # the lowest bit is the byte order of the checksums

SMALLEST_FRAME = 24 + 512  # bytes of a change in the log: its header, and the smallest page

# Error codes by their cause: https://www.sqlite.org/rescode.html
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}  # by another process
_DISK = {  # or its permissions
    *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOLFS),
}


class DamagedDatabaseError(StorageError):
    """A store's database is damaged.

    Attributes:
        reason: the damage.
    """

    def __init__(self, path: Path, reason: str, effect: str = "nothing was changed") -> None:
        copies = "".join(f"; {copy.name} is a copy from before an update" for copy in copies_of(path))
        super().__init__(
            f"{path}: is damaged ({reason}); {effect}. 'asr-edge doctor' puts it into the quarantine and recovers the "
            f"recordings and the texts that can be read. If you have a backup, restore that first ('asr-edge restore "
            f"FILE'){copies}"
        )
        self.reason = reason


def _code(error: sqlite3.Error) -> int | None:
    """The error code of SQLite, without the higher bits of the extended code; None if Python raised the error."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the database is damaged, or that the file is no database."""
    if _code(error) is None:  # Python raises an OperationalError for a text that is not UTF-8; a store has none
        return isinstance(error, sqlite3.OperationalError)
    return _code(error) in _DAMAGE


def is_locked(error: sqlite3.Error) -> bool:
    """Whether an error says that another process is using the database."""
    return _code(error) in _LOCKED


def is_of_disk(error: sqlite3.Error) -> bool:
    """Whether an error says that the disk or the permissions prevent the use of the database."""
    return _code(error) in _DISK


def may_be_damage(error: sqlite3.Error) -> bool:
    """Whether an error has the code of wrong SQL; the cause may be that the schema was damaged, and lacks a name."""
    return _code(error) == sqlite3.SQLITE_ERROR


def in_use(path: Path, error: sqlite3.Error) -> StorageError:
    """The error to raise when `is_locked`."""
    return StorageError(f"{path}: is in use by another process ({error}). Wait until it has finished, then try again")


def copies_of(path: Path) -> list[Path]:
    """The copies of the database that migrations made."""
    return sorted(path.parent.glob(f"{path.name}.before-*"))


def unfinished_copies_of(path: Path) -> list[Path]:
    """The copies of the database, and their journals, that migrations could not finish."""
    return sorted(path.parent.glob(f".{path.name}.before-*"))


def check_journal(path: Path) -> None:
    """Checks the write-ahead log before SQLite does, because SQLite removes a damaged one.

    Raises:
        CorruptError: the log may have changes, which SQLite would lose by opening the database, because the header of
            the log is damaged; or the database is empty or missing, but its log is there.
    """
    for attempt in range(3):  # another process may be writing the header at this moment
        problem = _problem_of_journal(path)
        if not problem:
            return
        if attempt < 2:
            time.sleep(0.05)
    raise CorruptError(problem)


def check_not_lost(path: Path, audio: Path) -> None:
    """Checks that the database exists if there are recordings.

    Raises:
        CorruptError: there are recordings, but their database is missing.
    """
    if not path.exists() and next(audio.rglob("*.flac"), None) is not None:
        raise CorruptError("it is missing, but there are recordings")


def _problem_of_journal(path: Path) -> str:
    try:
        with path.with_name(f"{path.name}-wal").open("rb") as file:
            header = file.read(JOURNAL_HEADER)
            has_changes = len(file.read(SMALLEST_FRAME)) == SMALLEST_FRAME
    except FileNotFoundError:
        return ""
    if len(header) < JOURNAL_HEADER:
        return ""
    if not path.is_file() or path.stat().st_size == 0:
        return "it is empty or missing, but its write-ahead log is there"
    if not has_changes:
        return ""
    (magic,) = struct.unpack(">I", header[:4])
    if magic & ~1 != JOURNAL_MAGIC:
        return "its write-ahead log has a damaged header"
    order = ">" if magic & 1 else "<"
    first = second = 0  # the two checksums, over the first 24 bytes; the last 8 bytes are their stored values
    for one, two in struct.iter_unpack(f"{order}II", header[:24]):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    is_intact = (first, second) == struct.unpack(">II", header[24:])
    return "" if is_intact else "its write-ahead log has a damaged header"


# The ids of the domains that utterances refer to, each found with one step in the index.
_MISSING_DOMAIN = """
    WITH RECURSIVE named (id) AS (
        SELECT min(domain_id) FROM utterance
        UNION ALL
        SELECT (SELECT min(domain_id) FROM utterance WHERE domain_id > named.id) FROM named WHERE named.id IS NOT NULL
    )
    SELECT 1 FROM named WHERE id IS NOT NULL AND id NOT IN (SELECT id FROM domain)
"""


def check_domains(sql: sqlite3.Connection) -> None:
    """Checks that the domain of each utterance exists.

    Raises:
        CorruptError: utterances would be invisible, because their domain is missing.
    """
    if sql.execute(_MISSING_DOMAIN).fetchone() is not None:
        raise CorruptError("utterances refer to a domain that is missing")


def damage_of(sql: sqlite3.Connection) -> list[str]:
    """Lists the damage of an open database, one line per problem.

    Raises:
        sqlite3.Error: the database cannot be read for another reason than damage.
    """
    try:
        found = [str(row[0]) for row in sql.execute(f"PRAGMA integrity_check({MAX_PROBLEMS})")]
        # SQLite writes "ok" if there is no damage, and a heading such as "*** in database main ***" if there is some.
        problems = [line for text in found for line in text.splitlines() if line and line != "ok" and line[:3] != "***"]
        dangling = sql.execute("PRAGMA foreign_key_check").fetchall()
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return [str(error)]
    return problems + [
        f"row {row} of {table} refers to a {parent} that is missing" for table, row, parent, _ in dangling
    ]


def copy_to_quarantine(path: Path, quarantine: Path) -> Path:
    """Copies a database and its journal unchanged into the quarantine; returns the path of the copy.

    Raises:
        StorageError: they cannot be written.
    """
    when = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    target = quarantine / f"{path.stem}.{when}-{secrets.token_hex(4)}{path.suffix}"
    for suffix in ("-wal", ""):
        source = path.with_name(path.name + suffix)
        if source.is_file():
            write_atomically(target.with_name(target.name + suffix), source.read_bytes())
    return target


def remove(path: Path) -> None:
    """Removes a database and its journal.

    Raises:
        StorageError: they cannot be removed.
    """
    try:
        for suffix in ("", "-wal", "-shm"):  # SQLite would apply an old journal to a new database
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def copies_in_quarantine(path: Path, quarantine: Path) -> list[Path]:
    """The damaged databases in the quarantine and their journals."""
    return sorted(quarantine.glob(f"{path.stem}.*{path.suffix}*"))
