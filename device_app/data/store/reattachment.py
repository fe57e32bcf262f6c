"""Changes the file of a row, moves rows into the quarantine, and restores them.

Two rows never name the same file, because deleting one utterance would delete the audio of the other.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from device_app.data.names import checked_name, checked_text
from device_app.data.store import splits
from device_app.data.store.connection import Connection
from device_app.data.utterance import StoredUtterance
from editing.errors import BadInputError
from editing.files import write_atomically
from editing.privacy import restrict_access

# Fields of a record in the quarantine that are columns of the table; `restore` expects the text first.
COLUMNS = (
    *("text", "source", "split", "sha256", "created", "duration_s", "level_dbfs", "peak_dbfs"),
    *("clipped", "hypothesis", "confidence", "prompt", "snr_db"),
)


def new_file_name() -> str:
    """A random name for a new audio file, relative to the audio folder."""
    name = secrets.token_hex(16)
    return f"{name[:2]}/{name}.flac"


def attach(connection: Connection, new_paths: Mapping[int, Path]) -> None:
    """See `Store.attach`."""
    with connection.transaction():
        # First give all rows temporary names, because they may exchange their files and a name must be unique.
        connection.sql.executemany(
            "UPDATE utterance SET file = ? WHERE id = ?", [(f"?{number}", number) for number in new_paths]
        )
        for number, audio in new_paths.items():
            file = _own_file(connection, audio)
            connection.sql.execute("UPDATE utterance SET file = ? WHERE id = ?", (file, number))


def _own_file(connection: Connection, audio: Path) -> str:
    """The name of an audio file relative to the audio folder; if a row names it already, of a new copy."""
    file = audio.relative_to(connection.audio_folder).as_posix()
    if connection.sql.execute("SELECT 1 FROM utterance WHERE file = ?", (file,)).fetchone() is not None:
        file = new_file_name()
        write_atomically(connection.audio_folder / file, audio.read_bytes())
    restrict_access(connection.audio_folder / file)
    return file


def remove_to_quarantine(connection: Connection, utterance: StoredUtterance, reason: str, *, with_audio: bool) -> None:
    """See `Store.remove_to_quarantine`."""
    with connection.transaction():
        file = utterance.audio.relative_to(connection.audio_folder).as_posix()
        record = {name: value for name, value in utterance.record().items() if name != "audio"}
        connection.quarantine.add([{**record, "file": file}], reason)
        if with_audio and utterance.audio.is_file():
            connection.quarantine.move_in(utterance.audio)
        connection.sql.execute("DELETE FROM utterance WHERE id = ?", (utterance.number,))


def restore(connection: Connection, record: Mapping[str, Any], audio: Path) -> None:
    """See `Store.restore`."""
    try:
        domain = checked_name(str(record["domain"]), "domain")
        speaker = None if record["speaker"] is None else checked_name(str(record["speaker"]), "speaker")
        values = [record[column] for column in COLUMNS]
        values[0] = None if values[0] is None else checked_text(str(values[0]))
        with connection.transaction():
            values += [connection.ensured_id("domain", domain), speaker and connection.ensured_id("speaker", speaker)]
            names = ", ".join((*COLUMNS, "domain_id", "speaker_id", "file"))
            placeholders = ", ".join("?" * (len(values) + 1))
            values.append(_own_file(connection, audio))
            connection.sql.execute(f"INSERT INTO utterance ({names}) VALUES ({placeholders})", values)  # noqa: S608
            if record["split"] == "test":
                splits.remember_tested(connection, record["sha256"])
            same = ("sha256", "domain", "text")
            connection.quarantine.forget(lambda other: all(other.get(key) == record[key] for key in same))
    except (
        KeyError,
        sqlite3.IntegrityError,
        sqlite3.ProgrammingError,
    ) as error:  # a value is missing or of another type
        raise BadInputError(f"{connection.quarantine.folder}: a record cannot be used ({error})") from error
