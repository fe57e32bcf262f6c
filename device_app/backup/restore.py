"""Restores a backup: extracts and checks all of it beside the data folder, then exchanges the two in one step.

A kill at any moment leaves the old data or the new. The replaced folder is kept, under a name with the time.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from device_app.backup.archive import Manifest, OnDone, extract
from device_app.backup.checks import Contents, check_restored, contents_of
from device_app.backup.folders import put_in_place
from device_app.data.store.connection import DATABASE
from device_app.data.store.snapshot import write_locked
from device_app.models.ledger_files import LedgerFiles
from device_app.paths import BEFORE_RESTORE, data_folder
from editing.errors import AsrEdgeError, BadInputError, StorageError
from editing.files import cannot_write, sync
from editing.privacy import private_folder

UNFINISHED = "restore-unfinished"  # in a folder that no restore has put in place yet; locked by its process
SPARE_BYTES = 16 << 20  # for the journal of a migration


@dataclass(frozen=True)
class Prepared:
    """A backup that was extracted and checked, and can be put in place.

    Attributes:
        target: the data folder.
        new: the folder beside it with the content of the backup.
        manifest: the manifest of the backup.
        contents: what the backup has.
        replaced: what the data folder has; None if it is empty or missing.
    """

    target: Path
    new: Path
    manifest: Manifest
    contents: Contents
    replaced: Contents | None

    def put_in_place(self) -> Path | None:
        """Replaces the data folder in one step.

        Returns:
            The folder that was replaced, under its new name; None if there was none.

        Raises:
            BlockedError: another process is changing recordings or edits; nothing was changed.
            StorageError: it cannot be replaced; nothing was changed.
        """
        with ExitStack() as locks:
            if self.replaced is not None:
                locks.enter_context(write_locked(self.target / DATABASE))
                for folder in (self.target / "ledgers").glob("*/"):
                    locks.enter_context(LedgerFiles(folder).locked())
            (self.target / UNFINISHED).unlink(missing_ok=True)  # of an earlier restore, killed at its very end
            is_kept = put_in_place(self.new, self.target)
        (self.target / UNFINISHED).unlink(missing_ok=True)
        return _rename_kept(self.new, self.target) if is_kept else None


@contextmanager
def prepared(path: Path, on_done: OnDone = lambda _bytes: None) -> Iterator[Prepared]:
    """Extracts a backup beside the data folder and checks all of it. Changes nothing until `Prepared.put_in_place`.

    Args:
        path: the backup.
        on_done: called with the number of bytes extracted since the last call.

    Raises:
        BadInputError: it is no backup, is damaged, or does not fit; or this data folder is a host's.
        StorageError: it was written by a later version of asr-edge, or cannot be extracted, for instance because the
            disk is full.
    """
    target = Path(os.path.realpath(data_folder()))
    _check_no_host(target)
    try:
        with path.open("rb") as file:
            _check_file(path, target)
            finish_earlier(target)
            with _unfinished(target) as new:
                manifest = extract(file, str(path), new, on_done)
                check_restored(new, str(path))
                for one in (*new.rglob("*"), new):
                    sync(one)
                yield Prepared(target, new, manifest, contents_of(new), _replaced(target))
    except OSError as error:
        if isinstance(error, AsrEdgeError):
            raise
        place = Path(error.filename) if error.filename else target.parent
        if place == path:
            raise BadInputError(f"{path}: cannot be read ({error.strerror}); nothing was changed") from error
        raise cannot_write(target.parent, error) from error


def _check_file(path: Path, target: Path) -> None:
    if not path.is_file():
        raise BadInputError(f"{path}: is not a regular file; nothing was changed")
    needed = path.stat().st_size + SPARE_BYTES
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise StorageError(
            f"{target.parent}: has {free / 1e6:.0f} MB free, and restoring needs {needed / 1e6:.0f} MB, because the "
            "present data is kept; nothing was changed. Free some space, or set ASR_EDGE_HOME to another disk"
        )


def _check_no_host(target: Path) -> None:
    if (target / "host").exists():
        raise BadInputError(
            f"{target / 'host'}: belongs to the host that this machine is, and a backup has no host's data; nothing "
            "was changed. Stop the host, move that folder away, restore, and move it back"
        )


@contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    """A new private folder beside the data folder, removed at the end unless it was put in place."""
    new = target.with_name(f".{target.name}.restore-{secrets.token_hex(8)}")
    new.mkdir(mode=0o700)
    private_folder(new)
    marker = new / UNFINISHED
    marker.touch(0o600)
    with marker.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield new
        finally:
            if (new / UNFINISHED).exists():
                with suppress(OSError):
                    _remove_unfinished(new)


def finish_earlier(target: Path) -> None:
    """Tidies up after killed restores: removes folders that were never used, and keeps those that were replaced."""
    for folder in target.parent.glob(f".{target.name}.restore-*"):
        marker = folder / UNFINISHED
        if not any(folder.iterdir()):
            folder.rmdir()
        elif not marker.exists():
            _rename_kept(folder, target)
        else:
            with suppress(OSError), marker.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails if a running restore uses it
                _remove_unfinished(folder)


def _remove_unfinished(folder: Path) -> None:
    """Removes a folder that was never used; its marker last, so that a kill does not make it look like one in use."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != UNFINISHED:
            entry.unlink()
    shutil.rmtree(folder)


def _rename_kept(folder: Path, target: Path) -> Path:
    kept = target.with_name(f"{target.name}{BEFORE_RESTORE}{time.strftime('%Y%m%d-%H%M%S')}")
    if kept.exists():
        kept = kept.with_name(f"{kept.name}-{secrets.token_hex(2)}")
    folder.rename(kept)
    sync(kept.parent)
    return kept


def kept_folders(data: Path) -> list[Path]:
    """The folders that earlier restores have replaced."""
    real = Path(os.path.realpath(data))
    return sorted([*real.parent.glob(f"{real.name}{BEFORE_RESTORE}*"), *real.parent.glob(f".{real.name}.restore-*")])


def _replaced(target: Path) -> Contents | None:
    return contents_of(target) if target.is_dir() and any(target.iterdir()) else None
