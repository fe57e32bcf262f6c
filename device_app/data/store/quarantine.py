"""The quarantine: utterances and audio that `asr-edge doctor` or a migration removed from the store.

`quarantine/utterances.jsonl` has a line for each utterance whose row was removed, with all its metadata,
the reason and the time. Audio files that were removed from the store are in the same folder.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from editing.errors import StorageError
from editing.files import cannot_write, write_atomically
from editing.former_names import UTTERANCE, translated
from editing.json_text import parse_json

RECORDS = "utterances.jsonl"


class Quarantine:
    """The quarantine of a store. Callers that change it must hold the store's write lock."""

    def __init__(self, store_folder: Path) -> None:
        self.folder = store_folder / "quarantine"
        self._path = self.folder / RECORDS

    def records(self) -> list[dict[str, Any]]:
        """The utterances whose rows were removed, the oldest first.

        A last line without a line end is ignored: a power cut interrupted it, and its row was not removed yet.

        Raises:
            StorageError: the file cannot be read, or a line of it is damaged.
        """
        try:
            *lines, _torn = self._path.read_text("utf-8").split("\n")
            found = [translated(parse_json(line), UTTERANCE) for line in lines if line.strip()]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise StorageError(f"{self._path}: is damaged ({error}); nothing was changed. Move it away") from error
        if not all(isinstance(record, dict) for record in found):
            raise StorageError(f"{self._path}: is damaged (a line is not an object); nothing was changed. Move it away")
        return found

    def add(self, utterances: Iterable[Mapping[str, Any]], reason: str) -> None:
        """Adds records of utterances, before their rows are removed.

        Args:
            utterances: the "sha256" of the audio of each, and any other metadata.
            reason: why they are removed.

        Raises:
            StorageError: it cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        new = [{**utterance, "reason": reason, "quarantined": now} for utterance in utterances]
        if not new:
            return
        if not self._path.is_file() or not _ends_with_a_line(self._path):
            self._write([*self.records(), *new])
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_lines(new))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def copy(self, audio: Path) -> Path:
        """Copies an audio file into the quarantine; returns the path of the copy.

        Raises:
            StorageError: it cannot be written.
        """
        target = self.folder / audio.name
        if target.exists():
            target = target.with_name(f"{secrets.token_hex(4)}-{audio.name}")
        write_atomically(target, audio.read_bytes())
        return target

    def move_in(self, audio: Path) -> Path:
        """Moves an audio file into the quarantine, which may be on another disk; returns its new path.

        Raises:
            StorageError: it cannot be moved.
        """
        target = self.copy(audio)
        try:
            audio.unlink()
        except OSError as error:
            raise cannot_write(audio, error) from error
        return target

    def half_written(self) -> list[Path]:
        """Copies of recordings, records and databases that a killed process has left half-written."""
        return list(self.folder.glob(".*.tmp"))

    def forget(self, is_forgotten: Callable[[Mapping[str, Any]], bool]) -> int:
        """Deletes records and their audio in the quarantine; returns the number of records.

        Raises:
            StorageError: it cannot be written.
        """
        records = self.records()
        forgotten = [record for record in records if is_forgotten(record)]
        names = {Path(str(record.get("file", ""))).name for record in forgotten} - {""}
        try:
            for path in self.folder.glob("*.flac"):
                if path.name in names or path.name.partition("-")[2] in names:  # `copy` may have put a prefix before it
                    path.unlink()
        except OSError as error:
            raise StorageError(f"{error.filename}: cannot be deleted ({error.strerror})") from error
        if forgotten:
            self._write([record for record in records if not is_forgotten(record)])
        return len(forgotten)

    def _write(self, records: Iterable[Mapping[str, Any]]) -> None:
        write_atomically(self._path, _lines(records).encode())


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        return file.read() == b"\n"


def _lines(records: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
