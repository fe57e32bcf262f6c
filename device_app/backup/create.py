"""Writes a backup of the data folder while other processes use it."""

from __future__ import annotations

import fcntl
import glob
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from device_app.backup.archive import OnDone, Writer
from device_app.data.store.connection import DATABASE
from device_app.data.store.snapshot import frozen, named_files
from device_app.data.terms import FILE as TERMS
from device_app.data.terms import stored_terms
from device_app.models.bundles import IN_USE as MODEL_IN_USE
from device_app.models.bundles import installed_bases, pulled_models
from device_app.models.ledger_files import SUFFIX, LedgerFiles
from device_app.models.ledger_record import DamagedRecordError, NewerRecordError, Record
from device_app.paths import data_folder
from device_app.remote.jobs import jobs
from device_app.remote.trusted_hosts import hosts
from device_app.settings_file import NAME as SETTINGS
from editing.errors import AsrEdgeError, BundleError, StorageError, counted
from editing.files import cannot_write, new_file_in_one_step, sha256
from editing.json_text import read_bounded
from export.bundle import Bundle

MAX_SETTINGS_BYTES = 256 << 20  # of terms, trusted hosts or settings; a list of 100,000 terms has far less


@dataclass(frozen=True)
class Backup:
    """A backup that was written.

    Attributes:
        size: in bytes.
        recordings: their number.
        edits: their number, of all models.
        models: names of the installed models that are in it.
        left_out: what is not in it, one line each.
    """

    size: int
    recordings: int
    edits: int
    models: list[str]
    left_out: list[str]


def size_of_data() -> int:
    """About how many bytes a backup will have."""
    folder = data_folder()
    parts = ("audio", "quarantine", "ledgers", "models", "jobs", DATABASE)
    return sum(
        path.stat().st_size
        for part in parts
        for path in ((folder / part).rglob("*") if (folder / part).is_dir() else [folder / part])
        if path.is_file()
    )


def back_up(path: Path, on_done: OnDone = lambda _bytes: None) -> Backup:
    """Writes recordings, edits, installed models, terms, trusted hosts and unfinished jobs into one private file.

    Baked files are not in it, because they can be rebuilt, and neither is the embedded model, which comes with
    asr-edge. Recordings that others add meanwhile may be in it; those that they delete are not restored.

    Args:
        path: the file; an existing one is replaced in one step.
        on_done: called with the number of bytes written since the last call.

    Raises:
        StorageError: a part of the data folder is damaged, or the file cannot be written; nothing was changed.
    """
    _remove_abandoned(path)
    try:
        with new_file_in_one_step(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # tells it from one that a killed process left
            found = _Collector(Writer(file, on_done)).run()
    except OSError as error:
        if isinstance(error, AsrEdgeError):
            raise
        raise cannot_write(path, error) from error
    return found


def _remove_abandoned(path: Path) -> None:
    """Removes the unfinished files of killed backups to this path, which contain recordings.

    The file of a running backup stays: it is locked, so that `flock` raises an OSError.
    """
    for old in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}.tmp"):
        with suppress(OSError), old.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            old.unlink()


class _Collector:
    """Adds the parts of the data folder one after the other, last the store, which others may change meanwhile."""

    def __init__(self, writer: Writer) -> None:
        self._writer, self._folder = writer, data_folder()
        self._left_out: list[str] = []

    def run(self) -> Backup:
        edits = self._add_ledgers()
        models = self._add_models()
        self._add_settings()
        recordings = self._add_store()
        self._writer.finish(self._left_out, version("asr-edge"))
        size = sum(size for size, _ in self._writer.files.values())
        return Backup(size, recordings, edits, models, self._left_out)

    def _add_store(self) -> int:
        audio = self._folder / "audio"
        for file in named_files(self._folder):
            with suppress(FileNotFoundError):  # deleted meanwhile, or missing: see below
                self._writer.add(f"audio/{file}", audio / file)
        # The rest is small, so that other processes wait only for a moment.
        with frozen(self._folder) as snapshot:
            missing = 0
            for file in snapshot.files:
                try:
                    self._writer.add(f"audio/{file}", audio / file)
                except FileNotFoundError:
                    missing += 1
            self._add_folder("quarantine")
            self._writer.add_bytes(DATABASE, snapshot.database)
        if missing:
            self._left_out.append(f"{audio}: {counted(missing, 'recording')} missing; 'asr-edge doctor' says which")
        return len(snapshot.files) - missing

    def _add_ledgers(self) -> int:
        bases = {bundle.weights_hash for bundle in installed_bases()}
        edits = 0
        for folder in sorted((self._folder / "ledgers").glob("*/")):
            files = LedgerFiles(folder)
            found = self._read_ledger(files)
            name = f"ledgers/{folder.name}"
            if found is not None:
                edits += len(found.edits)
                if found.edits and found.base not in bases:
                    self._left_out.append(
                        f"the model {found.base[:8]} of {counted(len(found.edits), 'edit')} is not installed; "
                        "copy its folder too"
                    )
            for path in sorted(files.vectors.glob(f"*{SUFFIX}")):
                if sha256(path) == path.stem:
                    self._writer.add(f"{name}/vectors/{path.name}", path)
                else:
                    self._left_out.append(f"{path} is damaged; 'asr-edge doctor' says more")
            self._add_folder(f"{name}/quarantine")
        return edits

    def _read_ledger(self, files: LedgerFiles) -> Record | None:
        name = f"ledgers/{files.folder.name}"
        try:
            found, before = files.read_ledger(), None
            with suppress(DamagedRecordError, StorageError):  # the next change replaces it
                before = files.read(files.previous)
        except (DamagedRecordError, NewerRecordError) as error:
            raise StorageError(
                f"{files.ledger}: cannot be backed up ({error}); nothing was written. 'asr-edge doctor' repairs it"
            ) from error
        for path, record_and_bytes in ((files.ledger, found), (files.previous, before)):
            if record_and_bytes is not None:
                self._writer.add_bytes(f"{name}/{path.name}", record_and_bytes[1])
        return None if found is None else found[0]

    def _add_models(self) -> list[str]:
        names = []
        for model, folder in pulled_models().items():
            try:
                bundle = Bundle.open(folder)
                bundle.check()
            except BundleError as error:
                self._left_out.append(f"{error}: 'asr-edge model pull' or a copy of its folder brings it back")
                continue
            for inner in bundle.files:
                self._writer.add(f"models/{model}/{inner}", folder / inner)
            self._writer.add_bytes(f"models/{model}/model.json", (folder / "model.json").read_bytes())
            names.append(model)
        return names

    def _add_settings(self) -> None:
        """Adds terms, trusted hosts, the settings file, the name of the model in use and jobs.

        Damaged terms, hosts or jobs are an error, because a backup with them could not be restored.
        """
        stored_terms()
        hosts()
        for name in (TERMS, "hosts.json", SETTINGS, MODEL_IN_USE):
            with suppress(FileNotFoundError):
                self._writer.add_bytes(name, read_bounded(self._folder / name, MAX_SETTINGS_BYTES))
        for job in jobs():
            with suppress(FileNotFoundError):  # it has ended meanwhile
                self._add_folder(f"jobs/{job.key}")

    def _add_folder(self, name: str) -> None:
        for path in _files_below(self._folder / name):
            self._writer.add(f"{name}/{path.relative_to(self._folder / name).as_posix()}", path)


def _files_below(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(".tmp"))
