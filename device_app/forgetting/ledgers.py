"""Removes edits from a ledger for good: their task vectors too, and every record of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from device_app.models.ledger_files import SUFFIX, LedgerFiles
from device_app.models.ledger_record import Applied, DamagedRecordError, Edit, NewerRecordError, Record, Version
from editing.errors import StorageError, TaskVectorError
from editing.files import sync, write_all_atomically
from editing.task_vector import read_origin

FORGOTTEN = "a forgotten domain"


def read_record(files: LedgerFiles) -> Record | None:
    """The record of a ledger; None if there is none.

    Raises:
        StorageError: it is damaged or of a newer asr-edge, so that it is unknown what to remove.
    """
    try:
        found = files.read_ledger()
    except NewerRecordError as error:
        raise StorageError(f"{files.ledger}: {error}; nothing was forgotten. Update asr-edge") from error
    except DamagedRecordError as error:
        raise StorageError(
            f"{files.ledger}: is damaged ({error}); nothing was forgotten. Run 'asr-edge doctor' first"
        ) from error
    return None if found is None else found[0]


def edits_of(files: LedgerFiles, record: Record, domains: Collection[str]) -> list[Edit]:
    """The edits that were trained on these domains on this machine, and all others that have one of their vectors.

    The vector of an imported edit may be trimmed: it is recognised by the fine-tuning that made it.
    """
    trained = [edit for edit in record.edits if edit.kind == "adapt" and {*edit.domains} & {*domains}]
    vectors = {digest for edit in trained for digest in edit.vectors}
    made = files.fine_tunings(vectors)
    return [
        edit
        for edit in record.edits
        if edit in trained
        or {*edit.vectors} & vectors
        or ({*edit.domains} & {*domains} and (edit.kind == "merge" or made & files.fine_tunings(edit.vectors)))
    ]


def trained_later(record: Record, forgotten: Sequence[Edit]) -> list[Edit]:
    """The adaptations that were made after the first of some edits, and so may have started from it."""
    numbers = [edit.id for edit in forgotten]
    return [
        edit
        for edit in record.edits
        if edit.kind == "adapt" and edit.id not in numbers and numbers and edit.id > min(numbers)
    ]


def merged_into(record: Record, forgotten: Sequence[Edit]) -> list[Edit]:
    """The other edits that the active version has as parts of a merge among some edits."""
    numbers = [edit.id for edit in forgotten]
    return record.versions[record.current].parts(numbers, [edit for edit in record.edits if edit.id not in numbers])


def without(record: Record, forgotten: Sequence[Edit], hidden: Collection[str]) -> Record:
    """A record without some edits. The remaining ones are numbered anew, and only the active version is left.

    Args:
        record: the record of the ledger.
        forgotten: edits to remove.
        hidden: domains whose names and WERs are removed too.
    """
    numbers = [edit.id for edit in record.edits if edit not in forgotten]
    new_numbers = {number: new_number for new_number, number in enumerate(numbers, 1)}
    edits = [_hide(replace(record.edits[number - 1], id=new_numbers[number]), hidden) for number in numbers]
    active = record.versions[record.current]
    applied = [
        Applied(new_numbers[one.edit], one.vectors, one.method, one.settings)
        for one in active.applied
        if one.edit in new_numbers
    ]
    base = replace(record.versions[0], wer=_without_keys(record.versions[0].wer, hidden))
    if not applied:
        return Record(record.base, edits, [base], 0)
    wer = _without_keys(active.wer, hidden) if len(applied) == len(active.applied) else {}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(record.base, edits, [base, Version(1, 0, applied, "forget", created, wer)], 1)


def _hide(edit: Edit, hidden: Collection[str]) -> Edit:
    """An edit without the names and WERs of domains."""
    reasons = list(edit.reasons)
    for domain in hidden:
        reasons = [_name_pattern(domain).sub(FORGOTTEN, reason) for reason in reasons]
    return replace(
        edit,
        domains=[FORGOTTEN if domain in hidden else domain for domain in edit.domains],
        before=_without_keys(edit.before, hidden),
        after=_without_keys(edit.after, hidden),
        reasons=reasons,
    )


def _without_keys(wer: Mapping[str, float], hidden: Collection[str]) -> dict[str, float]:
    return {domain: value for domain, value in wer.items() if domain not in hidden}


def erase(files: LedgerFiles, domains: Collection[str], hidden: Collection[str]) -> None:
    """Removes the edits of domains from a ledger, then their task vectors, also from the quarantine.

    After a kill, the same call finishes the work.

    Args:
        files: the files of the ledger.
        domains: domains whose edits are removed.
        hidden: domains whose names and WERs are removed from the other edits too.

    Raises:
        BlockedError: another process is changing the ledger.
        StorageError: it is damaged, or cannot be written.
    """
    with files.locked():
        record = read_record(files)
        if record is None:
            return
        forgotten = edits_of(files, record, domains)
        remaining = without(record, forgotten, hidden) if forgotten or _mentions(record, hidden) else record
        digests = {digest for edit in forgotten for digest in edit.vectors} - remaining.vectors
        if remaining is not record:
            _remove_plots(files)  # before the ledger: they are named by the numbers of edits, which change
            data = remaining.to_bytes()
            write_all_atomically({files.previous: data, files.ledger: data})  # the previous one names the edits too
        for folder in (files.vectors, files.quarantine):
            for path in folder.glob(f"*{SUFFIX}"):
                if path.stem in remaining.vectors and folder == files.vectors:
                    continue
                if _digest(path) in digests or path.stem in digests or _domain(path) in domains:
                    path.unlink(missing_ok=True)
            if folder.is_dir():
                sync(folder)


def _mentions(record: Record, domains: Collection[str]) -> bool:
    """Whether a record has the name of one of these domains: of an edit or a WER, in a reason, or in `Version.why`."""
    names = {name for edit in record.edits for name in (*edit.domains, *edit.before, *edit.after)}
    names |= {name for version in record.versions for name in version.wer}
    texts = [*(reason for edit in record.edits for reason in edit.reasons), *(one.why for one in record.versions)]
    return any(domain in names or any(map(_name_pattern(domain).search, texts)) for domain in domains)


def _name_pattern(domain: str) -> re.Pattern[str]:
    """Finds the name of a domain in a text, but not the same letters inside another word."""
    return re.compile(rf"(?<!\w){re.escape(domain)}(?!\w)")


def erase_all(files: LedgerFiles) -> None:
    """Removes a ledger with all of its task vectors and its quarantine; after a kill, the same call finishes the work.

    Raises:
        BlockedError: another process is changing the ledger.
    """
    with files.locked():
        _remove_plots(files)
        for path in (files.previous, files.ledger, *files.folder.glob("*.tmp"), *files.folder.glob(".*.tmp")):
            path.unlink(missing_ok=True)
        for folder in (files.vectors, files.quarantine):
            for path in (*folder.glob("*"), *folder.glob(".*")):
                path.unlink(missing_ok=True)


def _remove_plots(files: LedgerFiles) -> None:
    """Removes the plots of `adapt --lambda auto`, whose titles are names of domains."""
    for path in files.folder.glob("frontier-*.png"):
        path.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    """The SHA-256 of a file; "" if it cannot be read."""
    with suppress(OSError), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return ""


def _domain(path: Path) -> str | None:
    """The domain in the metadata of a task vector; None if it cannot be read."""
    try:
        return read_origin(path).domain
    except (TaskVectorError, OSError):
        return None
