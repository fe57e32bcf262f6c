"""What a host remembers: devices, jobs, contributions. SQLite; every change is one transaction.

The state of a job goes one way, and each step is taken once, as it is made only from the state before:

    uploading -> queued -> running -> done | failed
        any of the first three -> cancelled
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from device_app.data.database import LaterVersionError, Migration, connect, migrate, transaction
from device_app.remote.tokens import find_owner, hash_token, make_token
from editing.errors import BadInputError, StorageError
from editing.files import make_folder, private_folder
from editing.former_names import FINE_TUNING, STATEMENT, translated

State = Literal["uploading", "queued", "running", "done", "failed", "cancelled"]
OPEN: Sequence[State] = ("uploading", "queued", "running")

SCHEMA = """
CREATE TABLE device (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, token_sha256 TEXT NOT NULL UNIQUE, fleet TEXT NOT NULL,
    created REAL NOT NULL, revoked REAL
);
CREATE TABLE job (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, device INTEGER NOT NULL REFERENCES device,
    key TEXT NOT NULL, request TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT, statement TEXT, signature TEXT, result TEXT, created REAL NOT NULL, changed REAL NOT NULL,
    UNIQUE (device, key)
);
CREATE INDEX job_state ON job (state);
CREATE TABLE contribution (
    device INTEGER NOT NULL REFERENCES device, fleet TEXT NOT NULL, base TEXT NOT NULL, vector TEXT NOT NULL,
    statement TEXT NOT NULL, created REAL NOT NULL, PRIMARY KEY (device, fleet, base)
);
CREATE TABLE fleet_vector (
    number INTEGER PRIMARY KEY AUTOINCREMENT, fleet TEXT NOT NULL, base TEXT NOT NULL, vector TEXT NOT NULL,
    statement TEXT NOT NULL, signature TEXT NOT NULL, report TEXT NOT NULL, created REAL NOT NULL
);
"""
LOCAL = "this machine"  # the device that needs no token, where the host is bound to loopback


def _tables(connection: sqlite3.Connection) -> None:
    for statement in SCHEMA.split(";"):
        connection.execute(statement)


MIGRATIONS: Sequence[Migration] = (_tables,)


@dataclass(frozen=True)
class Device:
    """Someone who may send jobs; `fleet` is the group that it shares task vectors with, or ""."""

    id: int
    name: str
    fleet: str
    created: float
    revoked: float | None


@dataclass(frozen=True)
class Job:
    """One domain that a device wants learnt; times are seconds since 1970."""

    number: int
    id: str
    device: int
    key: str
    request: Mapping[str, Any]
    state: State
    attempts: int
    error: str | None
    statement: str | None
    signature: str | None
    result: Mapping[str, Any] | None
    created: float
    changed: float


@dataclass(frozen=True)
class Contribution:
    """A task vector that a device gave to its fleet, and what it said of it."""

    device: str
    vector: str
    statement: Mapping[str, Any]


class Database:
    """The host's database; may be used by several threads and processes."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            StorageError: it cannot be opened, or is of a later asr-edge.
        """
        self._local = threading.local()
        self._path = path
        try:
            make_folder(private_folder(path.parent))
            migrate(self._connection(), path, MIGRATIONS)
        except LaterVersionError as error:
            raise StorageError(f"{path}: is of a later asr-edge (version {error.version})") from error
        except (sqlite3.DatabaseError, OSError) as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"{path}: cannot be used ({error})") from error

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            self._local.connection = connect(self._path)
        found: sqlite3.Connection = self._local.connection
        return found

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self._connection())

    # Devices

    def add_device(self, name: str, fleet: str = "") -> str:
        """Lets a device in; returns its token, which is stored nowhere.

        Raises:
            BadInputError: there is a device of this name.
        """
        token = make_token()
        try:
            with self._transaction() as database:
                database.execute(
                    "INSERT INTO device (name, token_sha256, fleet, created) VALUES (?, ?, ?, ?)",
                    (name, hash_token(token), fleet, time.time()),
                )
        except sqlite3.IntegrityError:
            raise BadInputError(
                f"there is a device {name!r} already; revoke its token, or choose another name"
            ) from None
        return token

    def local_device(self) -> Device:
        """The device for which no token is asked."""
        with self._transaction() as database:
            database.execute(
                "INSERT OR IGNORE INTO device (name, token_sha256, fleet, created) VALUES (?, ?, '', ?)",
                (LOCAL, hash_token(make_token()), time.time()),
            )
        return next(device for device in self.devices() if device.name == LOCAL)

    def devices(self) -> list[Device]:
        """All, those whose token was revoked included."""
        rows = self._connection().execute("SELECT id, name, fleet, created, revoked FROM device ORDER BY id")
        return [Device(*row) for row in rows]

    def revoke(self, name: str) -> None:
        """Lets a device in no more.

        Raises:
            BadInputError: there is none of this name.
        """
        with self._transaction() as database:
            found = database.execute(
                "UPDATE device SET revoked = ? WHERE name = ? AND revoked IS NULL", (time.time(), name)
            )
            if not found.rowcount:
                raise BadInputError(f"there is no device {name!r} with a token; 'asr-edge host token list' shows them")

    def device_of(self, token: str) -> Device | None:
        """Whose token this is, if it is anybody's. All are compared, each in constant time."""
        rows = self._connection().execute(
            "SELECT token_sha256, id, name, fleet, created, revoked FROM device WHERE revoked IS NULL"
        )
        return find_owner(token, ((known, Device(*row)) for known, *row in rows))

    # Jobs

    def add_job(self, device: int, key: str, request: Mapping[str, Any]) -> tuple[Job, bool]:
        """A job for a request, and whether it is new: the same key is the same job.

        Raises:
            BadInputError: the key was used for another request.
        """
        text = json.dumps(request, sort_keys=True)
        now = time.time()
        with self._transaction() as database:
            added = database.execute(
                "INSERT OR IGNORE INTO job (id, device, key, request, state, created, changed) "
                "VALUES (?, ?, ?, ?, 'uploading', ?, ?)",
                (secrets.token_hex(16), device, key, text, now, now),
            )
            row = database.execute(f"{SELECT} WHERE device = ? AND key = ?", (device, key)).fetchone()
        if row[4] != text:
            raise BadInputError("this key was used for another request")
        return _job(row), bool(added.rowcount)

    def job(self, identity: str, device: int | None = None) -> Job | None:
        """A job, if there is one and it is this device's; None for any device."""
        row = self._connection().execute(f"{SELECT} WHERE id = ?", (identity,)).fetchone()
        return _job(row) if row is not None and device in (None, row[2]) else None

    def has_job(self, device: int, key: str) -> bool:
        """Whether a device's request is known."""
        row = self._connection().execute("SELECT 1 FROM job WHERE device = ? AND key = ?", (device, key)).fetchone()
        return row is not None

    def jobs(self, *states: State, device: int | None = None) -> list[Job]:
        """Jobs in these states, or in any, in the order in which they came."""
        marks = ", ".join("?" * len(states))
        where = [f"state IN ({marks})"] if states else []
        where += ["device = ?"] if device is not None else []
        values = [*states, *([device] if device is not None else [])]
        condition = f"WHERE {' AND '.join(where)}" if where else ""
        rows = self._connection().execute(f"{SELECT} {condition} ORDER BY number", values)
        return [_job(row) for row in rows]

    def count(self, *states: State, device: int | None = None) -> int:
        """How many jobs are in these states."""
        marks = ", ".join("?" * len(states))
        query = f"SELECT count(*) FROM job WHERE state IN ({marks}) AND (? IS NULL OR device = ?)"  # noqa: S608
        return int(self._connection().execute(query, (*states, device, device)).fetchone()[0])

    def place(self, job: Job) -> int:
        """How many jobs are before this one."""
        query = "SELECT count(*) FROM job WHERE state IN ('queued', 'running') AND number < ?"
        return int(self._connection().execute(query, (job.number,)).fetchone()[0])

    def move(self, identity: str, before: Sequence[State], after: State, **what: Any) -> bool:
        """Moves a job on, if it is in one of the states before. Exactly one caller is told that it did.

        Args:
            identity: of the job.
            before: states from which it may be moved.
            after: the state to move it to.
            what: other columns: attempts, error, statement, signature, result (JSON-able).
        """
        columns = {"state": after, "changed": time.time(), **what}
        if "result" in columns:
            columns["result"] = json.dumps(columns["result"])
        sets = ", ".join(f"{name} = ?" for name in columns)
        marks = ", ".join("?" * len(before))
        with self._transaction() as database:
            moved = database.execute(
                f"UPDATE job SET {sets} WHERE id = ? AND state IN ({marks})",  # noqa: S608
                (*columns.values(), identity, *before),
            )
        return moved.rowcount == 1

    # Fleets

    def contribute(
        self, device: int, fleet: str, base: str, vector: str, statement: Mapping[str, Any]
    ) -> Sequence[str]:
        """Notes a task vector that is given to a fleet, in place of the one that the device gave before.

        Returns:
            Vectors that nobody gives any more.
        """
        with self._transaction() as database:
            before = database.execute(
                "SELECT vector FROM contribution WHERE device = ? AND fleet = ? AND base = ?", (device, fleet, base)
            ).fetchall()
            database.execute(
                "INSERT OR REPLACE INTO contribution VALUES (?, ?, ?, ?, ?, ?)",
                (device, fleet, base, vector, json.dumps(statement), time.time()),
            )
            given = {one for (one,) in database.execute("SELECT vector FROM contribution")}
            offered = {one for (one,) in database.execute("SELECT vector FROM fleet_vector")}
        return [one for (one,) in before if one not in given | offered]

    def contributions(self, fleet: str, base: str) -> list[Contribution]:
        """Those of the devices whose token was not revoked."""
        rows = self._connection().execute(
            "SELECT name, vector, statement FROM contribution c JOIN device ON device.id = c.device "
            "WHERE c.fleet = ? AND base = ? AND revoked IS NULL ORDER BY name",
            (fleet, base),
        )
        return [
            Contribution(name, vector, translated(json.loads(statement), STATEMENT)) for name, vector, statement in rows
        ]

    def offer(self, fleet: str, base: str, vector: str, statement: str, signature: str, report: str) -> None:
        """Notes the vector that a fleet is offered from now on."""
        with self._transaction() as database:
            database.execute(
                "INSERT INTO fleet_vector (fleet, base, vector, statement, signature, report, created) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (fleet, base, vector, statement, signature, report, time.time()),
            )

    def offered(self, fleet: str, base: str) -> tuple[str, str, str] | None:
        """The vector that a fleet is offered: its hash, what is said of it, and the signature."""
        found: tuple[str, str, str] | None = (
            self._connection()
            .execute(
                "SELECT vector, statement, signature FROM fleet_vector WHERE fleet = ? AND base = ? "
                "ORDER BY number DESC LIMIT 1",
                (fleet, base),
            )
            .fetchone()
        )
        return found


SELECT = (
    "SELECT number, id, device, key, request, state, attempts, error, statement, signature, result, created, changed "
    "FROM job"
)


def _job(row: Sequence[Any]) -> Job:
    number, identity, device, key, request, state, attempts, error, statement, signature, result, created, changed = row
    return Job(
        number,
        identity,
        device,
        key,
        translated(json.loads(request), FINE_TUNING),
        state,
        attempts,
        error,
        statement,
        signature,
        None if result is None else json.loads(result),
        created,
        changed,
    )
