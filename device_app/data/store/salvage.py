"""Reads what is left in a damaged database."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from device_app.data.names import checked_name, checked_text
from device_app.data.store import damage
from editing.errors import BadInputError
from editing.former_names import UTTERANCE, translated

WIDEST_GAP = 100_000  # ids between the readable ends of the table that are tried one by one

# Columns that may be NULL, or missing in a database of an earlier version.
OPTIONAL: Mapping[str, type] = {
    **dict.fromkeys(("hypothesis", "prompt"), str),
    **dict.fromkeys(("confidence", "snr_db", "level_dbfs", "peak_dbfs", "clipped"), float),
}


def readable_records(path: Path, unknown_domain: str) -> list[dict[str, Any]]:
    """Reads the undamaged utterances of a damaged database, as records of the quarantine.

    A domain whose name cannot be read is named `unknown_domain` and its id, because two domains may have the same
    recording with different texts. Changed bytes within a text cannot be detected, because SQLite has no checksums.

    Raises:
        StorageError: another process is using the database.
    """
    found: dict[int, dict[str, Any]] = {}
    with _until_damage(path), closing(sqlite3.connect(path)) as sql:
        sql.text_factory = bytes
        domains, speakers = _names(sql, path, "domain"), _names(sql, path, "speaker")
        for row in _rows(sql, path):
            record = _record(row, domains, speakers, unknown_domain)
            if record is not None:
                found[record["id"]] = record
    return [found[identity] for identity in sorted(found)]


@contextmanager
def _until_damage(path: Path) -> Iterator[None]:
    """Ends its block at the first thing that cannot be read.

    Raises:
        StorageError: another process is using the database, so that nothing says that it cannot be read.
    """
    try:
        yield
    except sqlite3.Error as error:
        if damage.is_locked(error):
            raise damage.in_use(path, error) from error
    except UnicodeDecodeError:  # an error message of SQLite quotes a damaged name
        pass


def _names(sql: sqlite3.Connection, path: Path, table: str) -> Mapping[Any, str]:
    names: dict[Any, str] = {}
    with _until_damage(path):
        for identity, name in sql.execute(f"SELECT id, name FROM {table} NOT INDEXED"):  # noqa: S608
            with suppress(BadInputError, UnicodeDecodeError, AttributeError):
                names[identity] = checked_name(name.decode(), table)
    return names


def _rows(sql: sqlite3.Connection, path: Path) -> Iterator[dict[str, Any]]:
    """Yields rows from the front, from the back, and one by one in between, because a damaged page ends a scan."""
    query = "SELECT * FROM utterance NOT INDEXED"
    ends = [0, 0]
    for index, order in enumerate(("ASC", "DESC")):
        with _until_damage(path):
            for row in _read(sql, f"{query} ORDER BY id {order}"):
                ends[index] = row["id"]
                yield row
    first, last = ends
    for identity in range(first + 1, min(last, first + WIDEST_GAP)):
        with _until_damage(path):
            yield from _read(sql, f"{query} WHERE id = {identity}")


def _read(sql: sqlite3.Connection, query: str) -> Iterator[dict[str, Any]]:
    cursor = sql.execute(query)
    names = [column[0] for column in cursor.description]
    for row in cursor:
        yield dict(zip(names, row, strict=True))


def _record(
    row: Mapping[str, Any], domains: Mapping[Any, str], speakers: Mapping[Any, str], unknown_domain: str
) -> dict[str, Any] | None:
    """A row as a record; None if it is damaged, or was being deleted."""
    record: dict[str, Any] = {}
    for name, value in translated(row, UTTERANCE).items():
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError:
                value = None
        record[name] = value
    is_usable = (
        re.fullmatch("[0-9a-f]{64}", str(record.get("sha256"))) is not None
        and isinstance(record.get("file"), str)
        and isinstance(record.get("duration_s"), float)
    )
    if not is_usable or record.pop("deleted", 0) == 1:
        return None
    try:
        record["text"] = checked_text(record["text"])
    except (BadInputError, AttributeError, KeyError):  # no text, or a damaged one
        record["text"] = None
    if record.get("split") not in ("train", "test"):
        record["split"] = "test"  # held-out recordings must never be used for training
    if record.get("source") not in ("recorded", "imported", "corrected"):
        record["source"] = "recorded"
    if not isinstance(record.get("created"), str):
        record["created"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    for name, kind in OPTIONAL.items():
        if not isinstance(record.get(name), kind):
            record[name] = None
    domain = record.pop("domain_id", None)
    names = {
        "domain": domains.get(domain, f"{unknown_domain} {domain}" if isinstance(domain, int) else unknown_domain),
        "speaker": speakers.get(record.pop("speaker_id", None)),
    }
    return {**record, **names}
