"""The store's tables, as the steps that lead to them; a database remembers how many it has taken."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from editing.errors import StorageError

Migration = Callable[[sqlite3.Connection], None]

MIGRATIONS: list[Migration] = []
migration = MIGRATIONS.append


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Takes the steps that are missing, each in one transaction with its own record.

    Raises:
        StorageError: the database is of a later asr-edge.
    """
    taken = connection.execute("PRAGMA user_version").fetchone()[0]
    if taken > len(MIGRATIONS):
        raise StorageError(
            f"{path}: was made by a later asr-edge (version {taken}); nothing was changed. Update asr-edge"
        )
    while taken < len(MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been faster while this one waited.
            taken = connection.execute("PRAGMA user_version").fetchone()[0]
            if taken < len(MIGRATIONS):
                MIGRATIONS[taken](connection)
                taken += 1
                connection.execute(f"PRAGMA user_version = {taken}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


@migration
def utterances(connection: sqlite3.Connection) -> None:
    """Domains, speakers, and utterances with their figures."""
    for statement in (
        "CREATE TABLE domain (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
        "CREATE TABLE speaker (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
        """
        CREATE TABLE utterance (
            id INTEGER PRIMARY KEY AUTOINCREMENT,  -- an id is never given twice, even after a deletion
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
        # Once a speaker is held out, they stay so; the same for a recording, even if it is deleted and comes back.
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
def what_was_heard(connection: sqlite3.Connection) -> None:
    """What the recogniser made of an utterance, and how sure it was."""
    connection.execute("ALTER TABLE utterance ADD COLUMN heard TEXT")
    connection.execute("ALTER TABLE utterance ADD COLUMN confidence REAL")  # 0 to 1


@migration
def what_was_to_be_said(connection: sqlite3.Connection) -> None:
    """The sentence that was shown, by which a recording session goes on where it stopped; and how noisy it was."""
    connection.execute("ALTER TABLE utterance ADD COLUMN prompt TEXT")
    connection.execute("ALTER TABLE utterance ADD COLUMN snr_db REAL")
