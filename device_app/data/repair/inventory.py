"""Assigns audio files to utterances by SHA-256, for `device_app.data.repair.utterances`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_app.data.utterance import StoredUtterance
from editing.files import sha256

Record = Mapping[str, Any]  # of the quarantine


@dataclass(frozen=True)
class Row:
    """A row of the store, compared with its file.

    Attributes:
        utterance: the row; its `sha256` is what the file should have.
        digest: the SHA-256 that the file has; None if the file is missing.
    """

    utterance: StoredUtterance
    digest: str | None

    @property
    def number(self) -> int:
        return self.utterance.number

    @property
    def is_intact(self) -> bool:
        return self.digest == self.utterance.sha256


class Inventory:
    """Every row, every audio file and every record in the quarantine, compared by SHA-256.

    Attributes:
        faulty: rows whose file is missing or has other bytes.
        records: utterances in the quarantine that can be restored, by SHA-256; the newest of each domain.
        new_paths: the file with the bytes of each faulty row, by number.
        shared: numbers of rows whose new path belongs to another row too, so that they need a copy.
        exchanged: numbers of rows whose new path is another row's file, or whose file is another row's new path.
        overwritten: numbers of rows that have no new path, and whose file is another known recording.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        unknown: Sequence[Path],
        records: Sequence[Record],
        is_readable: Callable[[Path], bool],
    ) -> None:
        """
        Args:
            rows: all rows of the store.
            unknown: files in the audio folder that no row names.
            records: the records of the quarantine, the oldest first.
            is_readable: whether a file is audio that can be read.
        """
        self.faulty = [row for row in rows if not row.is_intact]
        self.records = _restorable(rows, records)
        self._numbers = {row.utterance.sha256: row.number for row in rows}
        self._is_readable = is_readable
        # A row may name a link to a file that no row names: that file belongs to the row and is not a copy.
        named = {_identity(row.utterance.audio) for row in rows if row.digest is not None}
        self._unknown: dict[str, list[Path]] = defaultdict(list)
        for path in unknown:
            if _identity(path) not in named:
                self._unknown[sha256(path)].append(path)
        # By SHA-256: a file with these bytes that a row has, or will have after the repair.
        self._owned = {row.utterance.sha256: row.utterance.audio for row in rows if row.is_intact}
        self.new_paths: dict[int, Path] = {}
        self.shared: set[int] = set()
        self._find_new_paths()
        files = {row.utterance.audio for row in self.faulty if row.digest is not None}
        claimed = {*self.new_paths.values()}
        self.exchanged = {
            row.number
            for row in self.faulty
            if row.number in self.new_paths and (self.new_paths[row.number] in files or row.utterance.audio in claimed)
        }
        self.overwritten = {
            row.number for row in self.faulty if row.number not in self.new_paths and self._is_known(row.digest)
        }

    def _is_known(self, digest: str | None) -> bool:
        return digest in self._numbers or digest in self.records

    def _find_new_paths(self) -> None:
        """Finds a file with the bytes of each faulty row: another row's, one that no row names, or a shared one."""
        displaced: dict[str, list[Path]] = defaultdict(list)
        for row in self.faulty:
            if row.digest in self._numbers:
                displaced[row.digest].append(row.utterance.audio)
        for row in self.faulty:
            digest = row.utterance.sha256
            if displaced[digest]:
                self.new_paths[row.number] = self._owned[digest] = displaced[digest].pop(0)
            elif (self._unknown.get(digest) or digest in self._owned) and self._is_lost(row):
                if self._unknown.get(digest):
                    self._owned[digest] = self._unknown[digest].pop(0)
                else:
                    self.shared.add(row.number)
                self.new_paths[row.number] = self._owned[digest]

    def _is_lost(self, row: Row) -> bool:
        """Whether the file of a faulty row does not contain its recording any more. An edited file still counts."""
        return row.digest is None or self._is_known(row.digest) or not self._is_readable(row.utterance.audio)

    def has_owner(self, digest: str) -> bool:
        """Whether a row has a file with these bytes, or will have one once `new_paths` are assigned."""
        return digest in self._owned

    def owner(self, digest: str) -> str:
        """Describes the utterance with this recording, for a message; there must be one."""
        if digest in self._numbers:
            return f"utterance {self._numbers[digest]}"
        return f"utterance {self.records[digest][0].get('id')} in the quarantine"

    def unclaimed(self) -> Iterator[tuple[str, list[Path]]]:
        """Files that no row will name after the repair, by SHA-256: unknown ones, and those that rows release."""
        found = {digest: list(paths) for digest, paths in self._unknown.items() if paths}
        claimed = {*self.new_paths.values()}
        for row in self.faulty:
            if row.digest is None or row.utterance.audio in claimed:
                continue
            # The file of an overwritten row whose recording has an owner is removed together with the row.
            if row.number in self.new_paths or (row.number in self.overwritten and not self.has_owner(row.digest)):
                found.setdefault(row.digest, []).append(row.utterance.audio)
        yield from found.items()


def _restorable(rows: Sequence[Row], records: Sequence[Record]) -> Mapping[str, list[Record]]:
    """The newest record of each recording and domain, by SHA-256, unless a row has that recording in that domain."""
    stored = {(row.utterance.domain, row.utterance.sha256) for row in rows}
    newest: dict[tuple[str, str], Record] = {}
    for record in records:
        key = (str(record.get("domain")), str(record.get("sha256")))
        if key not in stored:
            newest[key] = record
    found: dict[str, list[Record]] = {}
    for (_, digest), record in newest.items():
        found.setdefault(digest, []).append(record)
    return found


def _identity(path: Path) -> tuple[int, int]:
    """Device and inode of a file, which a link to it shares."""
    found = path.stat()
    return found.st_dev, found.st_ino
