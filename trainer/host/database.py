"""The host's SQLite database of devices, jobs and contributions. Every change is one transaction.

Each state transition of a job happens at most once, because it requires the previous state:

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
from editing.former_names import FINE_TUNING, STATEMENT, translated
from editing.privacy import make_folder, private_folder
from trainer.host.serving.disk import cannot_use_database

State = Literal["uploading", "queued", "running", "done", "failed", "cancelled"]
UNFINISHED: Sequence[State] = ("uploading", "queued", "running")

# The column "fleet" is the name of a group of devices.
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
LOCAL_DEVICE = "this machine"  # the device without a token, if the host listens on loopback


def _tables(connection: sqlite3.Connection) -> None:
    for statement in SCHEMA.split(";"):
        connection.execute(statement)


MIGRATIONS: Sequence[Migration] = (_tables,)


@dataclass(frozen=True)
class Device:
    """A device that may send jobs.

    Attributes:
        id, name: both are unique.
        fleet: the group with which it shares task vectors, or "".
        created, revoked: seconds since 1970; `revoked` is None as long as its token is valid.
    """

    id: int
    name: str
    fleet: str
    created: float
    revoked: float | None


@dataclass(frozen=True)
class Job:
    """A request of a device to fine-tune on one domain.

    Attributes:
        number, id: the position in the order of creation; a random name, chosen by the host.
        device, key: the device's id; an idempotency key, chosen by the device.
        request: see `trainer.host.schemas.TrainingRequest`; without the fields that the device did not send.
        attempts, error: how often a worker has died; why the job failed.
        statement, signature: the host's signed statement about the task vector.
        result: "losses" by epoch and "seconds" of fine-tuning.
        created, changed: seconds since 1970; `changed` is the time of the last transition.
    """

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
    """A task vector that a device contributed to its group, and the device's statement about it."""

    device: str
    vector: str
    statement: Mapping[str, Any]


class Database:
    """The host's database; several threads and processes may use it."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            StorageError: it cannot be opened, or a later version of asr-edge wrote it.
        """
        self._local = threading.local()
        self._path = path
        try:
            make_folder(private_folder(path.parent))
            migrate(self._connection(), path, MIGRATIONS)
        except LaterVersionError as error:
            raise StorageError(
                f"{path}: was written by a later version of asr-edge (format {error.version})"
            ) from error
        except (sqlite3.DatabaseError, OSError) as error:
            if isinstance(error, StorageError):
                raise
            raise cannot_use_database(path, error) from error

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            self._local.connection = connect(self._path)
            # Limits the write-ahead log to 64 pages; by default it grows to 4 MB.
            self._local.connection.execute("PRAGMA wal_autocheckpoint = 64")
        found: sqlite3.Connection = self._local.connection
        return found

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self._connection())

    # Devices

    def add_device(self, name: str, group: str = "") -> str:
        """Adds a device and returns its token. Only the token's hash is stored.

        A device of this name whose token was revoked is renamed; its jobs and contributions remain its own.

        Raises:
            BadInputError: a device of this name exists.
        """
        token = make_token()
        try:
            with self._transaction() as database:
                database.execute(
                    "UPDATE device SET name = name || ' (former ' || id || ')' WHERE name = ? AND revoked IS NOT NULL",
                    (name,),
                )
                database.execute(
                    "INSERT INTO device (name, token_sha256, fleet, created) VALUES (?, ?, ?, ?)",
                    (name, hash_token(token), group, time.time()),
                )
        except sqlite3.IntegrityError:
            raise BadInputError(f"a device {name!r} already exists; revoke its token, or choose another name") from None
        return token

    def local_device(self) -> Device:
        """The device of requests without a token; created if missing."""
        found = self._named(LOCAL_DEVICE)
        if found is None:  # writes only then: the disk may be full
            with self._transaction() as database:
                database.execute(
                    "INSERT OR IGNORE INTO device (name, token_sha256, fleet, created) VALUES (?, ?, '', ?)",
                    (LOCAL_DEVICE, hash_token(make_token()), time.time()),
                )
            found = self._named(LOCAL_DEVICE)
        assert found is not None
        return found

    def _named(self, name: str) -> Device | None:
        return next((device for device in self.devices() if device.name == name), None)

    def is_revoked(self, device: int) -> bool:
        """Whether the token of a device was revoked."""
        row = self._connection().execute("SELECT revoked FROM device WHERE id = ?", (device,)).fetchone()
        return row is None or row[0] is not None

    def devices(self) -> list[Device]:
        """All devices, including those whose token was revoked."""
        rows = self._connection().execute("SELECT id, name, fleet, created, revoked FROM device ORDER BY id")
        return [Device(*row) for row in rows]

    def revoke(self, name: str) -> None:
        """Revokes a device's token.

        Raises:
            BadInputError: no device of this name has a token.
        """
        with self._transaction() as database:
            found = database.execute(
                "UPDATE device SET revoked = ? WHERE name = ? AND revoked IS NULL", (time.time(), name)
            )
            if not found.rowcount:
                raise BadInputError(f"there is no device {name!r} with a token; 'asr-edge host token list' shows them")

    def device_with_token(self, token: str) -> Device | None:
        """The device with this token, or None. Compares with all tokens, each in constant time."""
        rows = self._connection().execute(
            "SELECT token_sha256, id, name, fleet, created, revoked FROM device WHERE revoked IS NULL"
        )
        return find_owner(token, ((known, Device(*row)) for known, *row in rows))

    # Jobs

    def add_job(self, device: int, key: str, request: Mapping[str, Any]) -> tuple[Job, bool]:
        """Adds a job for a request; returns it and whether it is new. The same key gives the same job.

        Raises:
            BadInputError: the device used the key for another request.
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
        if row[COLUMNS.index("request")] != text:
            raise BadInputError("this key was used for another request")
        return _job(row), bool(added.rowcount)

    def job(self, identity: str, device: int | None = None) -> Job | None:
        """The job with this id, or None. With `device`, only a job of that device."""
        row = self._connection().execute(f"{SELECT} WHERE id = ?", (identity,)).fetchone()
        return _job(row) if row is not None and device in (None, row[COLUMNS.index("device")]) else None

    def has_job(self, device: int, key: str) -> bool:
        """Whether the device has a job with this key."""
        row = self._connection().execute("SELECT 1 FROM job WHERE device = ? AND key = ?", (device, key)).fetchone()
        return row is not None

    def jobs(self, *states: State, device: int | None = None) -> list[Job]:
        """Jobs in these states (in any state if none is given), in the order of creation."""
        marks = ", ".join("?" * len(states))
        where = [f"state IN ({marks})"] if states else []
        where += ["device = ?"] if device is not None else []
        values = [*states, *([device] if device is not None else [])]
        condition = f"WHERE {' AND '.join(where)}" if where else ""
        rows = self._connection().execute(f"{SELECT} {condition} ORDER BY number", values)
        return [_job(row) for row in rows]

    def count(self, *states: State, device: int | None = None) -> int:
        """The number of jobs in these states."""
        marks = ", ".join("?" * len(states))
        query = f"SELECT count(*) FROM job WHERE state IN ({marks}) AND (? IS NULL OR device = ?)"  # noqa: S608
        return int(self._connection().execute(query, (*states, device, device)).fetchone()[0])

    def announced_bytes(self, device: int) -> int:
        """The bytes of the datasets of a device's jobs that have not ended."""
        query = (
            "SELECT coalesce(sum(json_extract(request, '$.dataset.bytes')), 0) FROM job "
            "WHERE device = ? AND state IN ('uploading', 'queued', 'running')"
        )
        return int(self._connection().execute(query, (device,)).fetchone()[0])

    def forget_ended(self, device: int, keep: int) -> None:
        """Removes a device's cancelled and failed jobs from the list, except the newest."""
        with self._transaction() as database:
            database.execute(
                "DELETE FROM job WHERE number IN (SELECT number FROM job WHERE device = ? "
                "AND state IN ('cancelled', 'failed') ORDER BY number DESC LIMIT -1 OFFSET ?)",
                (device, keep),
            )

    def forget_job(self, identity: str) -> None:
        """Removes a job that has ended from the list."""
        with self._transaction() as database:
            database.execute(
                "DELETE FROM job WHERE id = ? AND state IN ('done', 'failed', 'cancelled')",
                (identity,),
            )

    def queue_position(self, job: Job) -> int:
        """The number of queued and running jobs before this one."""
        query = "SELECT count(*) FROM job WHERE state IN ('queued', 'running') AND number < ?"
        return int(self._connection().execute(query, (job.number,)).fetchone()[0])

    def transition(self, identity: str, before: Sequence[State], after: State, **changes: Any) -> bool:
        """Changes a job's state if it is in one of the states `before`.

        Args:
            identity: the job's id.
            before: the states from which the transition is allowed.
            after: the new state.
            changes: new values of other columns: attempts, error, statement, signature, result (JSON-serialisable).

        Returns:
            Whether this call changed the state. Of several concurrent callers, exactly one gets True.
        """
        columns = {"state": after, "changed": time.time(), **changes}
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

    # Groups

    def contribute(
        self, device: int, group: str, base: str, vector: str, statement: Mapping[str, Any]
    ) -> Sequence[str]:
        """Records a task vector contributed to a group; it replaces the device's previous one.

        Returns:
            Vectors that are no longer used, so that their files can be removed.
        """
        with self._transaction() as database:
            before = database.execute(
                "SELECT vector FROM contribution WHERE device = ? AND fleet = ? AND base = ?", (device, group, base)
            ).fetchall()
            database.execute(
                "INSERT OR REPLACE INTO contribution VALUES (?, ?, ?, ?, ?, ?)",
                (device, group, base, vector, json.dumps(statement), time.time()),
            )
            used = set(database.execute("SELECT vector FROM contribution UNION SELECT vector FROM fleet_vector"))
        return [row[0] for row in before if row not in used]

    def contributed_vectors(self) -> list[str]:
        """The vectors of all contributions."""
        return [one for (one,) in self._connection().execute("SELECT DISTINCT vector FROM contribution")]

    def remove_contribution(self, vector: str) -> bool:
        """Removes the contributions of a vector; returns whether its file is no longer used."""
        with self._transaction() as database:
            database.execute("DELETE FROM contribution WHERE vector = ?", (vector,))
            return database.execute("SELECT 1 FROM fleet_vector WHERE vector = ?", (vector,)).fetchone() is None

    def contributions(self, group: str, base: str) -> list[Contribution]:
        """The contributions of devices whose token is not revoked."""
        rows = self._connection().execute(
            "SELECT name, vector, statement FROM contribution c JOIN device ON device.id = c.device "
            "WHERE c.fleet = ? AND base = ? AND revoked IS NULL ORDER BY name",
            (group, base),
        )
        return [
            Contribution(name, vector, translated(json.loads(statement), STATEMENT)) for name, vector, statement in rows
        ]

    def offer(self, group: str, base: str, vector: str, statement: str, signature: str, report: str) -> None:
        """Records the merged vector that the host offers to a group from now on."""
        with self._transaction() as database:
            database.execute(
                "INSERT INTO fleet_vector (fleet, base, vector, statement, signature, report, created) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (group, base, vector, statement, signature, report, time.time()),
            )

    def offered(self, group: str, base: str) -> tuple[str, str, str] | None:
        """The merged vector that the host offers to a group: its hash, statement and signature."""
        found: tuple[str, str, str] | None = (
            self._connection()
            .execute(
                "SELECT vector, statement, signature FROM fleet_vector WHERE fleet = ? AND base = ? "
                "ORDER BY number DESC LIMIT 1",
                (group, base),
            )
            .fetchone()
        )
        return found


COLUMNS = (
    "number id device key request state attempts error statement signature result created changed".split()  # noqa: SIM905
)
SELECT = f"SELECT {', '.join(COLUMNS)} FROM job"  # noqa: S608


def _job(row: Sequence[Any]) -> Job:
    values = dict(zip(COLUMNS, row, strict=True))
    request, result = json.loads(values["request"]), values["result"]
    values |= {"request": translated(request, FINE_TUNING), "result": None if result is None else json.loads(result)}
    return Job(**values)
