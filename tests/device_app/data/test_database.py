"""Opening, transactions and migrations, which the store and a host's database share."""

import sqlite3
from contextlib import closing

import pytest

from device_app.data.database import LaterVersionError, connect, migrate, transaction


def first(connection):
    connection.execute("CREATE TABLE thing (name TEXT) STRICT")


def second(connection):
    connection.execute("INSERT INTO thing VALUES ('from the second step')")


def names(connection):
    return [name for (name,) in connection.execute("SELECT name FROM thing")]


@pytest.fixture
def database(tmp_path):
    with closing(connect(tmp_path / "some.sqlite3")) as connection:
        yield connection


def test_a_new_database_is_private_and_overwrites_deleted_content(tmp_path, database):
    first(database)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    pragmas = {name: database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}
    assert database.execute("PRAGMA secure_delete").fetchone() == (1,)


def test_a_transaction_is_written_completely_or_not_at_all(database):
    first(database)
    with transaction(database):
        database.execute("INSERT INTO thing VALUES ('kept')")
    with pytest.raises(ZeroDivisionError), transaction(database):
        database.execute("INSERT INTO thing VALUES ('lost')")
        raise ZeroDivisionError
    assert names(database) == ["kept"]


def test_each_migration_runs_once(tmp_path, database):
    path = tmp_path / "some.sqlite3"
    assert migrate(database, path, [first])
    assert migrate(database, path, [first, second])
    assert not migrate(database, path, [first, second])
    assert names(database) == ["from the second step"]
    assert database.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_failed_migration_leaves_the_database_as_the_previous_one_left_it(tmp_path, database):
    def fails(connection):
        second(connection)
        connection.execute("no SQL at all")

    with pytest.raises(sqlite3.OperationalError):
        migrate(database, tmp_path / "some.sqlite3", [first, fails])
    assert names(database) == []
    assert database.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_database_of_a_later_version_is_not_touched(tmp_path, database):
    path = tmp_path / "some.sqlite3"
    migrate(database, path, [first, second])
    with pytest.raises(LaterVersionError, match="later version of asr-edge") as caught:
        migrate(database, path, [first])
    assert caught.value.version == 2
