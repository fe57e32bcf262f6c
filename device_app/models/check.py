"""Finds damage to ledgers (records of edits and versions), task vectors and baked files (`models.baking`).

Each finding can be repaired on request. Repairs delete only incomplete files and files that can be rebuilt, such as
baked files.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from device_app.finding import Finding
from device_app.models.baking import abandoned_candidates, baked_damage
from device_app.models.bundles import installed_bases
from device_app.models.ledger_files import SUFFIX, LedgerFiles
from device_app.models.ledger_record import DamagedRecordError, NewerRecordError, Record
from device_app.paths import data_folder
from editing.errors import AsrEdgeError, StorageError, TaskVectorError, counted, one_line
from editing.files import sha256
from editing.task_vector import read_origin, summarise
from export.bundle import Bundle

# Baked files that changed more recently may still be written by another process; baking takes seconds.
IN_PROGRESS_S = 300.0


def examine_models() -> list[Finding]:
    """Examines all ledgers with their task vectors, and all baked files. Changes nothing.

    To repair, call `repair` of the findings in order, then examine again: a restored ledger may refer
    to other task vectors than those that were examined.
    """
    bases = {bundle.weights_hash[:16]: bundle for bundle in installed_bases()}
    findings: list[Finding] = []
    for folder in sorted((data_folder() / "ledgers").glob("*/")):
        findings += _examine_ledger(LedgerFiles(folder), bases.get(folder.name))
    return [*findings, *_examine_baked()]


def _examine_ledger(files: LedgerFiles, base: Bundle | None) -> Iterator[Finding]:
    for path in _half_written(files):
        repair = _locked(files, partial(path.unlink, missing_ok=True))
        yield Finding("incomplete files of models", str(path), "they are removed", repair)
    record: Record | None = None  # of the ledger, or of the copy that will replace a damaged one
    try:
        record = _record(files.read_ledger())
    except NewerRecordError as error:
        kind = "ledgers of a newer asr-edge"
        yield Finding(kind, f"{files.ledger}: {error}", "use that version of asr-edge", is_fault=False)
        return
    except StorageError as error:
        yield Finding("ledgers that cannot be read", str(error), "nothing is moved, because they may be intact")
        return
    except DamagedRecordError as error:
        yield _damaged_ledger(files, str(error))
        with suppress(DamagedRecordError, NewerRecordError, StorageError):
            record = _record(files.read(files.previous))
    else:
        yield from _damaged_previous(files)
        if record is None:
            yield from _missing_ledger(files)
    if record is not None:
        yield from _damaged_vectors(files, record, base)
    yield from _unreferenced_vectors(files)
    yield from _quarantined(files)


def _record(found: tuple[Record, bytes] | None) -> Record | None:
    """The record of what `LedgerFiles.read` returns."""
    return None if found is None else found[0]


def _half_written(files: LedgerFiles) -> list[Path]:
    return sorted(path for pattern in (".*.tmp", "vectors/.*.tmp") for path in files.folder.glob(pattern))


def _damaged_ledger(files: LedgerFiles, reason: str) -> Finding:
    if files.is_previous_intact():
        remedy = (
            "the ledger from before the last change replaces it; the damaged one is moved to the folder "
            "'quarantine' beside it, and the task vectors are unchanged"
        )
    else:
        remedy = (
            "restore it from a backup; otherwise it is moved to the folder 'quarantine' beside it, and the base model "
            "becomes active. The task vectors are unchanged: 'asr-edge vector import FILE' adds them again"
        )
    return Finding("damaged ledgers", f"{files.ledger}: {reason}", remedy, _locked(files, files.restore))


def _missing_ledger(files: LedgerFiles) -> Iterator[Finding]:
    """Finds task vectors without a ledger. A folder without task vectors is new, so that nothing is missing."""
    count = sum(path.is_file() for path in files.vectors.glob(f"*{SUFFIX}"))
    if count:
        line = f"{files.ledger}: is missing, and so is {files.previous.name}, but {count} task vectors are in 'vectors'"
        remedy = (
            "take ledger.json from a backup; without one the base model stays active, and 'asr-edge vector import "
            "FILE' adds each task vector again, including those in the folder 'quarantine' beside it"
        )
        yield Finding("missing ledgers", line, remedy)


def _damaged_previous(files: LedgerFiles) -> Iterator[Finding]:
    try:
        files.read(files.previous)
    except StorageError as error:
        kind = "copies of the previous ledger that cannot be read"
        yield Finding(kind, str(error), "nothing is moved, because they may be intact")
    except (DamagedRecordError, NewerRecordError) as error:
        yield Finding(
            "damaged copies of the previous ledger",
            f"{files.previous}: {error}",
            "they are moved to the folder 'quarantine' beside them; the next change writes a new copy",
            _locked(files, partial(_quarantine_previous, files)),
        )


def _quarantine_previous(files: LedgerFiles) -> None:
    if files.previous.exists() and not files.is_previous_intact():
        files.move_into_quarantine(files.previous)


def _damaged_vectors(files: LedgerFiles, record: Record, base: Bundle | None) -> Iterator[Finding]:
    applied = {edit.edit for edit in record.versions[record.current].applied}
    # Several edits may share a vector: the active one is named.
    in_order = sorted(record.edits, key=lambda edit: edit.id in applied)
    edit_numbers: Mapping[str, int] = {digest: edit.id for edit in in_order for digest in edit.vectors}
    if base is None and edit_numbers:
        line = f"{files.folder}: the base model {record.base[:8]} is not installed; vectors were not compared with it"
        yield Finding("ledgers without their model", line, "install the model again, or ignore this", is_fault=False)
    for digest, edit in edit_numbers.items():
        path = files.vector(digest)
        problem = _damage_of_vector(path, digest, base)
        if not problem:
            continue
        line = f"{path}: the task vector of edit {edit} {problem}"
        if files.find_in_quarantine(digest) is not None:
            repair = _locked(files, partial(files.restore_vector, digest))
            yield Finding("damaged task vectors with an intact copy", line, "the intact copy replaces them", repair)
        elif edit in applied:
            remedy = (
                "restore them from a backup, or revert their edits: asr-edge revert N; where several are damaged, "
                "asr-edge rollback, again and again, until none of them is active"
            )
            yield Finding("missing or damaged task vectors of active edits", line, remedy)
        else:
            remedy = "restore them from a backup if you want to use their edits again"
            yield Finding("missing or damaged task vectors of inactive edits", line, remedy)


def _damage_of_vector(path: Path, digest: str, base: Bundle | None) -> str:
    """The damage to the file of a task vector with this SHA-256, in one line; empty if there is none."""
    if not path.is_file():
        return "is missing"
    try:
        if sha256(path) != digest:
            return "does not match the hash in its name"
        shapes = None
        if base is not None:
            with suppress(AsrEdgeError):  # if the bundle is damaged, at least compare its hash
                shapes = base.shapes()
        # The name begins the error message; the caller names the file, so it is removed below.
        summarise(path, base=None if base is None else base.weights_hash, shapes=shapes, name="it")
    except TaskVectorError as error:
        return f"cannot be merged ({str(error).removeprefix('it: ')})"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""


def _unreferenced_vectors(files: LedgerFiles) -> Iterator[Finding]:
    try:
        paths = files.unreferenced_vectors()
    except (DamagedRecordError, NewerRecordError, StorageError):  # references are unknown until it is repaired
        return
    for path in paths:
        if not path.name.endswith(".tmp"):
            kind, remedy = "unreferenced task vectors", "they are moved to the folder 'quarantine' of their ledger"
            repair = _locked(files, partial(_quarantine_vector, files, path))
            yield Finding(kind, f"{path}: {_described(path)}", remedy, repair)


def _quarantine_vector(files: LedgerFiles, path: Path) -> None:
    if path in files.unreferenced_vectors():
        files.move_into_quarantine(path)


def _quarantined(files: LedgerFiles) -> Iterator[Finding]:
    """Lists the files in quarantine each time, because they take space and only the user can decide to delete them."""
    for path in sorted(path for path in files.quarantine.glob("*") if path.is_file()):
        what = _described(path) if path.suffix == SUFFIX else "a quarantined ledger"
        remedy = "'asr-edge vector import FILE' adds a task vector again; remove the files if you do not need them"
        line = f"{path}: {what}, {path.stat().st_size / 1e6:.1f} MB"
        yield Finding("unused files in quarantine", line, remedy, is_fault=False)


def _described(path: Path) -> str:
    """The domain, size and date of a task vector, from its metadata."""
    try:
        origin = read_origin(path)
    except TaskVectorError:
        return "not a task vector"
    domain = one_line(origin.domain) or "no domain"
    return f"{domain}, {counted(origin.utterances, 'utterance')}, {one_line(origin.created)}"


def _locked(files: LedgerFiles, change: Callable[[], object]) -> Callable[[], None]:
    """A function that makes a change while it holds the lock of the ledger."""

    def repair() -> None:
        with files.locked():
            change()

    return repair


def _examine_baked() -> Iterator[Finding]:
    for folder in sorted((data_folder() / "baked").glob("*/")):
        if problem := _finished_damage(folder):
            kind, remedy = "damaged baked files", "they are removed, and baked again when needed"
            yield Finding(kind, f"{folder}: {problem}", remedy, partial(_remove_baked, folder))
    for folder in abandoned_candidates():
        kind = "abandoned baked files of candidates"
        yield Finding(kind, str(folder), "they are removed", partial(_remove_candidate, folder))


def _finished_damage(folder: Path) -> str:
    """The damage to baked files that no process is writing, in one line; empty if there is none."""
    problem = baked_damage(folder)
    return problem if problem and not _may_be_in_progress(folder) else ""


def _remove_baked(folder: Path) -> None:
    if folder.is_dir() and _finished_damage(folder):
        shutil.rmtree(folder, ignore_errors=True)


def _remove_candidate(folder: Path) -> None:
    if folder in abandoned_candidates():
        shutil.rmtree(folder, ignore_errors=True)


def _may_be_in_progress(folder: Path) -> bool:
    changed = [path.stat().st_mtime for path in (folder, *folder.glob("*"))]
    return time.time() - max(changed) < IN_PROGRESS_S
