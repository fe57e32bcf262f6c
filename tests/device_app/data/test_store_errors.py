"""Errors of SQLite: only damage is called damage, and errors of the program stay what they are."""

import sqlite3
from contextlib import closing
from functools import partial

import pytest

from device_app.data import database
from device_app.data.repair.database import examine_database, rebuild
from device_app.data.store import Store
from device_app.data.store.damage import DamagedDatabaseError
from device_app.data.store.salvage import readable_records
from device_app.data.store.snapshot import check_foreign_database
from editing.errors import BadInputError, StorageError
from tests.device_app.data.test_store import new


def error_of(kind, code):
    error = kind("some cause")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        (sqlite3.DatabaseError, sqlite3.SQLITE_CORRUPT, "is damaged (some cause); the recordings in "),
        (sqlite3.DatabaseError, sqlite3.SQLITE_CORRUPT_INDEX, "is damaged (some cause)"),
        (sqlite3.DatabaseError, sqlite3.SQLITE_NOTADB, "is damaged (some cause)"),
        (sqlite3.OperationalError, sqlite3.SQLITE_BUSY, "is in use by another process (some cause). Wait until"),
        (sqlite3.OperationalError, sqlite3.SQLITE_BUSY_SNAPSHOT, "is in use by another process"),
        (sqlite3.OperationalError, sqlite3.SQLITE_LOCKED, "is in use by another process"),
        (sqlite3.OperationalError, sqlite3.SQLITE_PROTOCOL, "is in use by another process"),
        (sqlite3.OperationalError, sqlite3.SQLITE_READONLY, "cannot be used (some cause)"),
        (sqlite3.OperationalError, sqlite3.SQLITE_IOERR_READ, "cannot be used (some cause)"),
        (sqlite3.OperationalError, sqlite3.SQLITE_CANTOPEN, "cannot be used (some cause)"),
        (sqlite3.DatabaseError, sqlite3.SQLITE_NOLFS, "cannot be used (some cause)"),
        (sqlite3.OperationalError, sqlite3.SQLITE_FULL, "cannot be written (the disk is full)"),
    ],
)
def test_an_error_of_the_database_says_its_cause(tmp_path, kind, code, message):
    with pytest.raises(StorageError) as caught, Store(tmp_path):
        raise error_of(kind, code)
    assert str(caught.value).startswith(f"{tmp_path / 'store.sqlite3'}: {message}")
    assert isinstance(caught.value, DamagedDatabaseError) == message.startswith("is damaged")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (sqlite3.OperationalError, sqlite3.SQLITE_ERROR),
        (sqlite3.IntegrityError, sqlite3.SQLITE_CONSTRAINT_UNIQUE),
        (sqlite3.IntegrityError, sqlite3.SQLITE_MISMATCH),
        (sqlite3.InterfaceError, sqlite3.SQLITE_MISUSE),
        (sqlite3.InterfaceError, sqlite3.SQLITE_RANGE),
        (sqlite3.DataError, sqlite3.SQLITE_TOOBIG),
        (sqlite3.DatabaseError, sqlite3.SQLITE_AUTH),
        (sqlite3.OperationalError, sqlite3.SQLITE_INTERRUPT),
    ],
)
def test_another_error_is_not_changed(tmp_path, kind, code):
    error = error_of(kind, code)
    for is_writing in (False, True):
        with pytest.raises(kind) as caught, Store(tmp_path) as store:
            if is_writing:
                with store._connection.transaction():
                    raise error
            raise error
        assert caught.value is error


@pytest.mark.parametrize(
    ("statement", "values", "kind"),
    [
        ("INSERT INTO domain (name) VALUES ('kitchen')", (), sqlite3.IntegrityError),
        ("SELECT ?", (), sqlite3.ProgrammingError),
        ("SELECT ?", ([],), sqlite3.ProgrammingError),
        ("no SQL at all", (), sqlite3.OperationalError),
        ("SELECT name FROM no_table", (), sqlite3.OperationalError),
    ],
)
def test_an_error_of_the_program_is_not_called_damage(tmp_path, statement, values, kind):
    with pytest.raises(kind) as caught, Store(tmp_path) as store:
        store.add([new()])
        store._connection.sql.execute(statement, values)
    assert type(caught.value) is kind


def test_a_closed_store_is_not_called_damaged(tmp_path):
    with pytest.raises(sqlite3.ProgrammingError, match="closed"), Store(tmp_path) as store:
        store.close()
        store.stats()


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """The folder of a store whose database another connection has locked."""
    with Store(tmp_path) as store:
        store.add([new()])
    monkeypatch.setattr(database, "BUSY_S", 0.1)
    with closing(sqlite3.connect(tmp_path / "store.sqlite3", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        yield tmp_path


def test_a_locked_database_is_in_use(locked):
    with pytest.raises(StorageError, match=r"store\.sqlite3: is in use by another process"):
        Store(locked)
    with pytest.raises(StorageError, match="is in use by another process"):
        examine_database(locked)


def test_a_database_to_which_another_process_writes_is_in_use(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_S", 0.1)
    with Store(tmp_path) as store:
        store.add([new()])
        with closing(sqlite3.connect(tmp_path / "store.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError, match="is in use by another process"):
                store.set_text(1, "another text")
        assert store.set_text(1, "another text").text == "another text"


def test_a_damaged_database_is_not_emptied_while_another_process_uses_it(tmp_path, monkeypatch):
    """Its utterances could not be read, and all their texts would be lost."""
    with Store(tmp_path) as store:
        store.add([new()])
    with closing(sqlite3.connect(tmp_path / "store.sqlite3", isolation_level=None)) as sql:
        sql.execute("UPDATE utterance SET domain_id = 99")
    with closing(sqlite3.connect(tmp_path / "store.sqlite3", isolation_level=None)) as other:

        def locked_records(path, unknown_domain):
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0.1))
            return readable_records(path, unknown_domain)

        monkeypatch.setattr("device_app.data.repair.database.readable_records", locked_records)
        with pytest.raises(StorageError, match="is in use by another process"):
            rebuild(tmp_path)
    monkeypatch.undo()
    rebuild(tmp_path)
    with Store(tmp_path) as store:
        assert [record["text"] for record in store.quarantine.records()] == ["some words"]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE utterance RENAME COLUMN prompt TO prompu",
        "ALTER TABLE domain RENAME TO domaio",
        "DROP TABLE tested",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = 3",
    ],
)
def test_a_schema_that_is_not_that_of_its_version_is_damage(tmp_path, statement):
    """Single bytes of the schema were changed, so that SQLite can read it, but not what it should have."""
    with Store(tmp_path) as store:
        store.add([new()])
    with closing(sqlite3.connect(tmp_path / "store.sqlite3", isolation_level=None)) as sql:
        sql.execute(statement)
    with pytest.raises(StorageError, match=r"its tables are not those of version \d"), Store(tmp_path) as store:
        store.add([new(index, domain="garden") for index in range(3)])
        list(store.utterances())
    (finding,) = examine_database(tmp_path)
    assert "its tables are not those of version" in finding.line
    rebuild(tmp_path)
    with Store(tmp_path) as store:
        assert [record["text"] for record in store.quarantine.records()] == ["some words"]


def test_a_damaged_log_without_changes_is_no_damage(tmp_path):
    with Store(tmp_path) as store:
        store.add([new()])
    (tmp_path / "store.sqlite3-wal").write_bytes(bytes(range(32)))
    with Store(tmp_path) as store:
        assert store.get(1).text == "some words"
    (tmp_path / "store.sqlite3-wal").write_bytes(bytes(range(32)) + bytes(24 + 4096))
    with pytest.raises(DamagedDatabaseError, match="its write-ahead log has a damaged header"):
        Store(tmp_path)


def test_a_database_of_a_backup_that_cannot_be_opened_is_not_called_damaged(tmp_path):
    with pytest.raises(StorageError, match=r"missing: cannot be read \(unable to open database file\)"):
        check_foreign_database(tmp_path / "missing", "backup.tar")
    (tmp_path / "rubbish").write_bytes(b"rubbish" * 100)
    with pytest.raises(BadInputError, match="its database is damaged"):
        check_foreign_database(tmp_path / "rubbish", "backup.tar")
