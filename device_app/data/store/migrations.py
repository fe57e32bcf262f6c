"""The store's tables as a list of migrations; a database stores how many it has run."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from device_app.data import database
from device_app.data.store import damage
from device_app.data.store.quarantine import Quarantine
from editing.files import sha256

Migration = Callable[[sqlite3.Connection, Path], None]  # receives the database and the store's folder

MIGRATIONS: list[Migration] = []
migration = MIGRATIONS.append  # as a decorator; the functions are reached through the list only


def migrate(connection: sqlite3.Connection, path: Path) -> bool:
    """Runs the migrations that the store lacks (`database.migrate`).

    Before the first of them, with the number N, the database is copied to `store.sqlite3.before-N`. A migration that
    removes rows marks them as deleted, so that their audio is removed only after the transaction.

    Returns:
        Whether any was missing.

    Raises:
        LaterVersionError: a newer asr-edge wrote the database.
        sqlite3.Error: the database is damaged, or cannot be read or written.
        StorageError: the quarantine cannot be written.
    """
    copies: list[Path] = []
    steps = [partial(_with_copy, step, number, path, copies) for number, step in enumerate(MIGRATIONS, 1)]
    return database.migrate(connection, path, steps)


def schema_problem(path: Path) -> str:
    """How the tables of a database differ from those of its version; "" if they do not, or if that is unknown.

    Reads the database by a connection of its own.
    """
    try:
        with (
            closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0)) as found,
            closing(sqlite3.connect(":memory:")) as expected,
        ):
            (version,) = found.execute("PRAGMA user_version").fetchone()
            if not 0 <= version <= len(MIGRATIONS):
                return ""
            for step in MIGRATIONS[:version]:
                step(expected, path.parent)  # an empty database has no utterances to move or to remove
            is_same = _columns(found) == _columns(expected)
    except sqlite3.Error as error:
        return str(error) if damage.is_damage(error) or damage.may_be_damage(error) else ""
    except UnicodeDecodeError:  # raised for an error message of SQLite that quotes a damaged schema
        return "a text in its schema is not UTF-8"
    return "" if is_same else f"its tables are not those of version {version}"


def _columns(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """The tables of a database, each with its columns."""
    return connection.execute(
        """
        SELECT found.name, field.name FROM sqlite_schema AS found, pragma_table_info(found.name) AS field
        WHERE found.type = 'table' AND found.name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY 1, 2
        """
    ).fetchall()


def _with_copy(step: Migration, number: int, path: Path, copies: list[Path], connection: sqlite3.Connection) -> None:
    """Runs a migration; before the first one of an existing database, copies it.

    Args:
        step: the migration.
        number: its number, from 1.
        path: the database.
        copies: shared by the migrations of one call: empty until it is decided whether there is a copy.
        connection: the connection to the database.
    """
    if number > 1 and not copies:
        copies.append(_copy_before(path, number))
    elif number == 1:
        copies.append(path)  # no copy: a new database has nothing to copy, at the later migrations either
    step(connection, path.parent)


@migration
def utterances(connection: sqlite3.Connection, _folder: Path) -> None:
    """Adds domains, speakers, and utterances with their measurements."""
    for statement in (
        "CREATE TABLE domain (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
        "CREATE TABLE speaker (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
        """
        CREATE TABLE utterance (
            id INTEGER PRIMARY KEY AUTOINCREMENT,  -- an id is never reused, even after a deletion
            domain_id INTEGER NOT NULL REFERENCES domain,
            speaker_id INTEGER REFERENCES speaker,
            text TEXT,                             -- NULL: not labelled yet
            source TEXT NOT NULL CHECK (source IN ('recorded', 'imported', 'corrected')),
            split TEXT NOT NULL CHECK (split IN ('train', 'test')),
            file TEXT NOT NULL UNIQUE,             -- below the audio folder
            sha256 TEXT NOT NULL,                  -- of the file
            created TEXT NOT NULL,                 -- ISO 8601, UTC
            duration_s REAL NOT NULL,
            level_dbfs REAL,
            peak_dbfs REAL,
            clipped REAL,                          -- share of samples at full scale
            deleted INTEGER NOT NULL DEFAULT 0     -- 1: its audio is being deleted
        ) STRICT
        """,
        # Lists and statistics of a large store are read from this index alone.
        """
        CREATE INDEX utterance_by_domain
        ON utterance (domain_id, deleted, speaker_id, split, source, duration_s, text IS NULL)
        """,
        "CREATE INDEX utterance_by_speaker ON utterance (speaker_id)",
        "CREATE INDEX utterance_by_sha256 ON utterance (sha256, domain_id)",
        # Once a speaker is held out, they stay so. The same for a recording: `tested` has the SHA-256 of all that were
        # ever in the split "test", also of those that are deleted and come back.
        """
        CREATE TABLE speaker_split (
            domain_id INTEGER NOT NULL REFERENCES domain ON DELETE CASCADE,
            speaker_id INTEGER NOT NULL REFERENCES speaker ON DELETE CASCADE,
            split TEXT NOT NULL CHECK (split IN ('train', 'test')),
            PRIMARY KEY (domain_id, speaker_id)
        ) STRICT
        """,
        "CREATE TABLE tested (sha256 TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
    ):
        connection.execute(statement)


@migration
def recognised_text(connection: sqlite3.Connection, _folder: Path) -> None:
    """Adds hypotheses and their confidence."""
    connection.execute("ALTER TABLE utterance ADD COLUMN heard TEXT")
    connection.execute("ALTER TABLE utterance ADD COLUMN confidence REAL")  # 0 to 1


@migration
def prompts(connection: sqlite3.Connection, _folder: Path) -> None:
    """Adds the prompt, by which an interrupted recording session continues, and the signal-to-noise ratio."""
    connection.execute("ALTER TABLE utterance ADD COLUMN prompt TEXT")
    connection.execute("ALTER TABLE utterance ADD COLUMN snr_db REAL")


# Recordings that a domain has more than once.
DUPLICATES = "SELECT domain_id, sha256 FROM utterance WHERE deleted = 0 GROUP BY 1, 2 HAVING count(*) > 1"


@migration
def forbid_duplicates(connection: sqlite3.Connection, folder: Path) -> None:
    """Removes duplicates, and forbids them: two simultaneous imports could store each utterance twice."""
    if connection.execute(DUPLICATES).fetchone() is not None:
        for domain, digest in connection.execute(DUPLICATES).fetchall():
            _update_hashes(connection, folder, domain, digest)
        for domain, digest in connection.execute(DUPLICATES).fetchall():
            _keep_one(connection, folder, domain, digest)
    connection.execute("CREATE UNIQUE INDEX utterance_once ON utterance (domain_id, sha256) WHERE deleted = 0")


@migration
def hypothesis(connection: sqlite3.Connection, _folder: Path) -> None:
    """Renames the column `heard` to `hypothesis`, the name used everywhere else."""
    connection.execute("ALTER TABLE utterance RENAME COLUMN heard TO hypothesis")


def _copy_before(path: Path, number: int) -> Path:
    """Copies the database before a migration; only its owner can read the copy. Returns the path of the copy."""
    target = path.with_name(f"{path.name}.before-{number}")
    temporary = path.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.touch(0o600)
    # By SQLite, which reads the journal too. The caller's transaction has changed nothing yet.
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(temporary)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, with no journal beside it
    temporary.replace(target)
    return target


def _update_hashes(connection: sqlite3.Connection, folder: Path, domain: int, digest: str) -> None:
    """Updates the hashes of files that were edited: they are not duplicates any more."""
    rows = connection.execute(
        "SELECT id, file FROM utterance WHERE domain_id = ? AND sha256 = ? AND deleted = 0", (domain, digest)
    ).fetchall()
    for identity, file in rows:
        path = folder / "audio" / file
        if path.is_file() and (actual := sha256(path)) != digest:
            connection.execute("UPDATE utterance SET sha256 = ? WHERE id = ?", (actual, identity))


def _keep_one(connection: sqlite3.Connection, folder: Path, domain: int, digest: str) -> None:
    """Keeps one row of a recording, with a file that exists; puts the metadata of the others into the quarantine.

    Labelled rows are preferred, then corrected ones, then the oldest (in SQL, false comes before true).
    """
    cursor = connection.execute(
        """
        SELECT utterance.*, domain.name AS domain, speaker.name AS speaker
        FROM utterance JOIN domain ON domain.id = domain_id LEFT JOIN speaker ON speaker.id = speaker_id
        WHERE domain_id = ? AND sha256 = ? AND deleted = 0
        ORDER BY text IS NULL, source != 'corrected', utterance.id
        """,
        (domain, digest),
    )
    names = [column[0] for column in cursor.description]
    kept, *others = [dict(zip(names, row, strict=True)) for row in cursor]
    columns = {"domain_id", "speaker_id", "deleted"}
    records = [{name: value for name, value in one.items() if name not in columns} for one in others]
    Quarantine(folder).add(records, f"is the same recording as utterance {kept['id']}")
    connection.executemany("UPDATE utterance SET deleted = 1 WHERE id = ?", [(one["id"],) for one in others])
    existing = next((one for one in (kept, *others) if (folder / "audio" / one["file"]).is_file()), kept)
    if existing is not kept:  # exchange their files, because two rows must never name the same file
        for file, identity in (("", kept["id"]), (kept["file"], existing["id"]), (existing["file"], kept["id"])):
            connection.execute("UPDATE utterance SET file = ? WHERE id = ?", (file, identity))
    if any(one["split"] == "test" for one in others):
        connection.execute("UPDATE utterance SET split = 'test' WHERE id = ?", (kept["id"],))
        connection.execute("INSERT OR IGNORE INTO tested VALUES (?)", (digest,))
