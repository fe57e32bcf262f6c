"""The files of a ledger: written so that a kill loses nothing, and moved aside rather than deleted.

ledger.json            edits and versions, replaced in one step
ledger.previous.json   the same before the last change
vectors/HASH.safetensors
                       task vectors, named by their SHA-256; written before the ledger names them
quarantine/            damaged ledgers, and task vectors that no edit names; nothing here is used
lock                   held by who changes any of them
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from device_app.models.ledger_record import HASH, MAX_BYTES, DamagedRecordError, LaterRecordError, Record, parse_record
from editing.errors import StorageError
from editing.files import cannot_write, locked, make_folder, sha256, sync_folder, write_all_atomically, write_atomically
from editing.json_text import JSONTextError, read_bounded

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class LedgerFiles:
    """The folder of one base model's ledger, which may not exist yet."""

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

    def vector(self, name: str) -> Path:
        """Where the task vector of this hash is."""
        return self.vectors / f"{name}{SUFFIX}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from changing the files.

        Raises:
            BlockedError: another process is changing them.
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
        """What the ledger, or the one before it, says, and its bytes; None where there is no such file.

        Raises:
            LaterRecordError: a later asr-edge has written it.
            DamagedRecordError: it is damaged, or cannot be read.
        """
        try:
            data = read_bounded(path, MAX_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise DamagedRecordError(f"it cannot be read: {error.strerror}") from error
        except JSONTextError as error:
            raise DamagedRecordError(str(error)) from error
        record = parse_record(data)
        if not record.base.startswith(self.folder.name):
            raise DamagedRecordError(f"it is of the base {record.base[:8]}, not {self.folder.name[:8]}")
        return record, data

    def read_ledger(self) -> tuple[Record, bytes] | None:
        """`read` of the ledger itself.

        Raises:
            LaterRecordError, DamagedRecordError: as `read`; also where only the ledger before it is there.
        """
        found = self.read(self.ledger)
        # Each ledger is kept before the next one is written, so where there is a previous one, this one was there too.
        if found is None and self.previous.exists():
            raise DamagedRecordError("it is missing, but the one from before the last change is there")
        return found

    def is_previous_whole(self) -> bool:
        """Whether there is a ledger from before the last change that can take the place of a damaged one."""
        try:
            return self.read(self.previous) is not None
        except (DamagedRecordError, LaterRecordError):
            return False

    def write(self, record: Record, before: bytes | None) -> None:
        """Replaces the ledger. At any moment there is a whole one: the new one, or that of before.

        Args:
            record: the new one.
            before: the bytes of the one that it takes the place of, as they were read; they are kept.

        Raises:
            StorageError: it cannot be written; the ledger is as it was.
        """
        files = {} if before is None else {self.previous: before}
        write_all_atomically({**files, self.ledger: record.to_bytes()})  # renamed in this order

    # Within `locked`

    def restore(self) -> None:
        """Puts the ledger from before the last change in the place of one that is damaged or gone.

        The damaged one goes into quarantine, as does the previous one if it is damaged too; then
        there is no ledger any more, and the base model is active. Task vectors stay where they are.

        A ledger that is whole stays, as does one of a later asr-edge.

        Raises:
            StorageError: the folder cannot be written.
        """
        try:
            self.read_ledger()
        except DamagedRecordError:
            pass
        except LaterRecordError:
            return
        else:
            return
        if not self.is_previous_whole():
            for path in (self.previous, self.ledger):
                if path.exists():
                    self.move_into_quarantine(path)
            return
        if self.ledger.exists():
            self._link_into_quarantine(self.ledger)
        write_atomically(self.ledger, read_bounded(self.previous, MAX_BYTES))

    def unnamed_vectors(self) -> list[Path]:
        """Files beside the task vectors that neither the ledger nor the one before it names.

        Raises:
            DamagedRecordError, LaterRecordError: what the ledger names is not known.
        """
        found = self.read(self.ledger)
        named = set() if found is None else found[0].vectors
        try:
            before = self.read(self.previous)
        except (DamagedRecordError, LaterRecordError):
            before = None
        if before is not None:
            named |= before[0].vectors
        return sorted(path for path in self.vectors.glob("*") if path.stem not in named or path.suffix != SUFFIX)

    def move_into_quarantine(self, path: Path) -> Path:
        """Moves a file to where nothing uses it; returns its new path.

        Raises:
            StorageError: the folder cannot be written.
        """
        target = self._place_in_quarantine(path)
        try:
            make_folder(self.quarantine)
            path.rename(target)
            for folder in (self.quarantine, path.parent):
                sync_folder(folder)
        except OSError as error:
            raise cannot_write(target, error) from error
        return target

    def find_in_quarantine(self, name: str) -> Path | None:
        """A whole copy of the task vector of this hash that is in quarantine."""
        return next((path for path in self.quarantine.glob(f"{name}*{SUFFIX}") if sha256(path) == name), None)

    def take_back(self, name: str) -> None:
        """Moves a task vector that is in quarantine to where the ledger looks for it.

        Raises:
            StorageError: the folder cannot be written.
        """
        found = self.find_in_quarantine(name)
        target = self.vector(name)
        if found is None or (target.is_file() and sha256(target) == name):
            return
        try:
            make_folder(self.vectors)
            if target.exists():
                self.move_into_quarantine(target)
            found.rename(target)
            for folder in (self.vectors, self.quarantine):
                sync_folder(folder)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise cannot_write(target, error) from error

    def _link_into_quarantine(self, path: Path) -> None:
        """Gives a file a second name there, so that none is missing in between; or its only name, where links fail."""
        target = self._place_in_quarantine(path)
        try:
            make_folder(self.quarantine)
            target.hardlink_to(path)
            sync_folder(self.quarantine)
        except OSError:
            self.move_into_quarantine(path)

    def _place_in_quarantine(self, path: Path) -> Path:
        if HASH.fullmatch(path.stem) and not (self.quarantine / path.name).exists():
            return self.quarantine / path.name
        when = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        return self.quarantine / f"{path.stem}.{when}-{secrets.token_hex(4)}{path.suffix}"
