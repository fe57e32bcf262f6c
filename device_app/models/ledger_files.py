"""The files of a ledger. A kill at any moment loses no data, and files are quarantined instead of deleted.

ledger.json            edits and versions, replaced atomically
ledger.previous.json   a copy from before the last change
vectors/HASH.safetensors
                       task vectors, named by their SHA-256; written before the ledger refers to them
quarantine/            damaged ledgers and unreferenced task vectors; these are not used
lock                   held by the process that changes the files
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from device_app.models.ledger_record import HASH, MAX_BYTES, DamagedRecordError, NewerRecordError, Record, parse_record
from editing.errors import StorageError, TaskVectorError
from editing.files import cannot_read, cannot_write, sha256, sync, write_all_atomically, write_atomically
from editing.json_text import JSONTextError, read_bounded
from editing.lock import locked
from editing.privacy import make_folder
from editing.task_vector import read_origin

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class LedgerFiles:
    """The folder of the ledger of one base model; it may not exist yet."""

    folder: Path

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.json"

    @property
    def previous(self) -> Path:
        return self.folder / "ledger.previous.json"

    @property
    def vectors(self) -> Path:
        return self.folder / "vectors"

    @property
    def quarantine(self) -> Path:
        return self.folder / "quarantine"

    def vector(self, digest: str) -> Path:
        """The path of the task vector with this SHA-256."""
        return self.vectors / f"{digest}{SUFFIX}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the files against changes by other processes.

        Raises:
            BlockedError: another process has locked them.
            StorageError: the folder cannot be written.
        """
        lock = self.folder / "lock"
        try:
            make_folder(self.folder)
            lock.touch(0o600)
        except OSError as error:
            raise StorageError(f"{self.folder}: cannot be written ({error.strerror})") from error
        with locked(lock, message="another asr-edge is changing this model; wait until it has finished"):
            yield

    def read(self, path: Path) -> tuple[Record, bytes] | None:
        """Reads the ledger or its previous copy: the record and the bytes; None if there is no such file.

        Raises:
            NewerRecordError: a newer asr-edge has written it.
            DamagedRecordError: it is damaged.
            StorageError: it cannot be read, which does not mean that it is damaged.
        """
        try:
            data = read_bounded(path, MAX_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise cannot_read(path, error) from error
        except JSONTextError as error:
            raise DamagedRecordError(str(error)) from error
        record = parse_record(data)
        if not record.base.startswith(self.folder.name):
            raise DamagedRecordError(f"it belongs to the base {record.base[:8]}, not {self.folder.name[:8]}")
        return record, data

    def read_ledger(self) -> tuple[Record, bytes] | None:
        """Reads the ledger, as `read`.

        Raises:
            NewerRecordError, DamagedRecordError, StorageError: as `read`; DamagedRecordError also if only its
                previous copy exists.
        """
        found = self.read(self.ledger)
        # The previous copy is written only when the ledger exists, so a copy without a ledger means damage.
        if found is None and self.previous.exists():
            raise DamagedRecordError("it is missing, but the copy from before the last change exists")
        return found

    def is_previous_intact(self) -> bool:
        """Whether the copy from before the last change can replace a damaged ledger."""
        try:
            return self.read(self.previous) is not None
        except (DamagedRecordError, NewerRecordError, StorageError):
            return False

    def write(self, record: Record, before: bytes | None) -> None:
        """Replaces the ledger atomically, and keeps the old one as the previous copy.

        Args:
            record: the new ledger.
            before: the bytes of the old ledger, as they were read; None if there was none.

        Raises:
            StorageError: it cannot be written; the ledger is unchanged.
        """
        files = {} if before is None else {self.previous: before}
        write_all_atomically({**files, self.ledger: record.to_bytes()})  # renamed in this order

    # Changes; call these inside `locked`

    def restore(self) -> None:
        """Replaces a damaged or missing ledger with the copy from before the last change.

        Moves the damaged ledger into quarantine. If the copy is damaged too, it is also moved, so that
        there is no ledger and the base model is active. Task vectors are not moved.

        Does nothing if the ledger is intact or of a newer asr-edge.

        Raises:
            StorageError: the folder cannot be written, or the ledger cannot be read.
        """
        try:
            self.read_ledger()
        except DamagedRecordError:
            pass
        except NewerRecordError:
            return
        else:
            return
        with suppress(DamagedRecordError, NewerRecordError):
            self.read(self.previous)  # raises StorageError if it cannot be read, because it may be intact
        if not self.is_previous_intact():
            for path in (self.previous, self.ledger):
                if path.exists():
                    self.move_into_quarantine(path)
            return
        if self.ledger.exists():
            self._link_into_quarantine(self.ledger)
        write_atomically(self.ledger, read_bounded(self.previous, MAX_BYTES))

    def fine_tunings(self, digests: Iterable[str]) -> set[tuple[object, ...]]:
        """The fine-tunings that made stored task vectors, as `Origin.fine_tuning`, where they can be read."""
        found: set[tuple[object, ...]] = set()
        for digest in digests:
            with suppress(TaskVectorError, OSError):
                if (made := read_origin(self.vector(digest)).fine_tuning) is not None:
                    found.add(made)
        return found

    def unreferenced_vectors(self) -> list[Path]:
        """Files in the folder of the task vectors that neither the ledger nor its previous copy refers to.

        Raises:
            DamagedRecordError, NewerRecordError: of the ledger, as `read`.
            StorageError: the ledger or its previous copy cannot be read.
        """
        found = self.read(self.ledger)
        referenced = set() if found is None else found[0].vectors
        try:
            before = self.read(self.previous)
        except (DamagedRecordError, NewerRecordError):
            before = None
        if before is not None:
            referenced |= before[0].vectors
        return sorted(path for path in self.vectors.glob("*") if path.stem not in referenced or path.suffix != SUFFIX)

    def move_into_quarantine(self, path: Path) -> Path:
        """Moves a file into quarantine; returns its new path.

        Raises:
            StorageError: the folder cannot be written.
        """
        target = self._place_in_quarantine(path)
        try:
            make_folder(self.quarantine)
            path.rename(target)
            for folder in (self.quarantine, path.parent):
                sync(folder)
        except OSError as error:
            raise cannot_write(target, error) from error
        return target

    def find_in_quarantine(self, digest: str) -> Path | None:
        """The path of an intact copy of the task vector with this SHA-256 in quarantine, or None."""
        return next((path for path in self.quarantine.glob(f"{digest}*{SUFFIX}") if sha256(path) == digest), None)

    def restore_vector(self, digest: str) -> None:
        """Moves the task vector with this SHA-256 from quarantine back to the task vectors; a damaged one goes there.

        Does nothing if the vector is intact, or the quarantine has no intact copy.

        Raises:
            StorageError: the folder cannot be written.
        """
        found = self.find_in_quarantine(digest)
        target = self.vector(digest)
        if found is None or (target.is_file() and sha256(target) == digest):
            return
        try:
            make_folder(self.vectors)
            if target.exists():
                self.move_into_quarantine(target)
            found.rename(target)
            for folder in (self.vectors, self.quarantine):
                sync(folder)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise cannot_write(target, error) from error

    def _link_into_quarantine(self, path: Path) -> None:
        """Links a file into quarantine, so that the original exists until it is replaced; moves it if links fail."""
        target = self._place_in_quarantine(path)
        try:
            make_folder(self.quarantine)
            target.hardlink_to(path)
            sync(self.quarantine)
        except OSError:
            self.move_into_quarantine(path)

    def _place_in_quarantine(self, path: Path) -> Path:
        """A free path in quarantine: a task vector keeps its name where it can; others get the time and a number."""
        if HASH.fullmatch(path.stem) and not (self.quarantine / path.name).exists():
            return self.quarantine / path.name
        when = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        return self.quarantine / f"{path.stem}.{when}-{secrets.token_hex(4)}{path.suffix}"
