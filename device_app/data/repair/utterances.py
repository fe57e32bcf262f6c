"""Finds and repairs what a crash, a missing disk or manual changes did to the store.

Files are assigned to utterances by their SHA-256, in whichever folder they are, so that no utterance gets the audio of
another. Nothing is lost: before a row is removed, all metadata of its utterance go into the
quarantine (`device_app.data.store.quarantine`), and so does damaged audio.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from device_app.audio.samples import read
from device_app.data.recordings import is_stored_form, recording_of
from device_app.data.repair.inventory import Inventory, Row
from device_app.data.store import Store
from device_app.data.utterance import Recording, StoredUtterance, Utterance
from device_app.finding import Finding, repair_all
from device_app.paths import DATA, LINKED
from editing.errors import BadAudioError, BadInputError, StorageError
from editing.files import sha256
from editing.privacy import is_open_to_others, private_entries, restrict_access

RECOVERED = "recovered"  # the domain of recordings without metadata

MISSING = "utterances whose audio is missing"
DAMAGED = "utterances whose audio is damaged"
OVERWRITTEN = "utterances whose files hold other recordings"
UNKNOWN = "recordings without an utterance"
FOUND_AGAIN = "recordings that were found again"


def examine(store: Store) -> list[Finding]:
    """Compares every row with its audio, and every audio file with the rows. Changes nothing.

    Raises:
        StorageError: the quarantine cannot be read.
        OSError: a recording cannot be read from the disk.
    """
    findings = [
        Finding("deletions that were not finished", name, "they are finished", store.finish_deletions)
        for name in store.marked_as_deleted()
    ]
    unknown = store.unknown_files()
    half_written = {path for path in unknown if path.name.startswith(".") and path.name.endswith(".tmp")}
    for path in sorted(half_written):
        repair = partial(path.unlink, missing_ok=True)
        findings.append(Finding("half-written files", str(path), "they are removed", repair))
    found = Inventory(
        rows=[
            Row(utterance, sha256(utterance.audio) if utterance.audio.is_file() else None)
            for utterance in store.utterances()
        ],
        unknown=[path for path in unknown if path not in half_written],
        records=store.quarantine.records(),
        is_readable=_is_readable,
    )
    findings += _examine_exchanged(store, found)
    for row in found.faulty:
        if row.number not in found.exchanged:
            findings.append(_examine_row(store, row, found))
    for digest, paths in found.unclaimed():
        findings += _examine_unclaimed(store, digest, paths, found)
    return [*findings, *_examine_modes(store, {*unknown, *(path.resolve() for path in unknown)})]


def repair(store: Store, findings: Sequence[Finding], *, missing_is_gone: bool = False) -> None:
    """Repairs all findings.

    Args:
        store: the store that was examined.
        findings: the result of `examine`.
        missing_is_gone: continue even if most recordings are missing.

    Raises:
        StorageError: most recordings are missing, and nothing was changed; or the store cannot be written.
    """
    if not missing_is_gone:
        refuse_if_most_are_missing(store, findings)
    repair_all(findings)


def refuse_if_most_are_missing(store: Store, findings: Sequence[Finding]) -> None:
    """Refuses a repair that would remove most recordings.

    Raises:
        StorageError: more than half of the recordings are missing or damaged; no crash causes that.
    """
    total = sum(stats.utterances for stats in store.stats())
    missing = sum(finding.kind in (MISSING, DAMAGED, OVERWRITTEN) for finding in findings)
    if 2 * missing > total:
        raise StorageError(
            f"{store.audio_folder}: {missing} of {total} recordings are missing or damaged; nothing was changed. "
            "Is the disk mounted? If they are really gone: asr-edge doctor --missing-is-gone"
        )


def _is_readable(path: Path) -> bool:
    try:
        read(path)
    except BadAudioError:
        return False
    return True


def _examine_exchanged(store: Store, found: Inventory) -> Iterator[Finding]:
    moves = [(row.utterance, found.new_paths[row.number]) for row in found.faulty if row.number in found.exchanged]
    # All of them are repaired in one transaction; each finding shows one of them.
    repair = cache(lambda: _attach(store, moves))
    for utterance, path in moves:
        kind = "recordings whose files were exchanged"
        remedy = "the utterances refer to the files with their recordings"
        yield Finding(kind, f"utterance {utterance.number}: its recording is in {path}", remedy, repair)


def _examine_row(store: Store, row: Row, found: Inventory) -> Finding:
    """Describes the fault of an utterance whose file was not exchanged with another utterance's."""
    utterance, name = row.utterance, f"utterance {row.number}"
    path = found.new_paths.get(row.number)
    if path is not None:
        repair = partial(_attach, store, [(utterance, path)])
        if row.number in found.shared:
            line = f"{name}: its audio {utterance.audio} is missing, but {path} has the same bytes"
            return Finding("recordings that another utterance shares", line, "the utterances get a copy", repair)
        return Finding("recordings that were moved", f"{name}: {path}", "the utterances refer to the new path", repair)
    if row.digest is None:
        line = f"{name}: its audio {utterance.audio} is missing"
        remedy = "their texts go into the quarantine, and are restored when the audio is found"
        return Finding(MISSING, line, remedy, partial(_quarantine, store, utterance, "its audio was missing"))
    if row.number in found.overwritten:
        line = f"{name}: {utterance.audio} holds the recording of {found.owner(row.digest)}"
        remedy = "their texts go into the quarantine, and are restored when their own audio is found"
        return Finding(OVERWRITTEN, line, remedy, partial(_quarantine_overwritten, store, utterance, row.digest))
    try:
        read(utterance.audio)
    except BadAudioError as error:
        remedy = "audio and texts go into the quarantine"
        repair = partial(_quarantine, store, utterance, "its audio was damaged")
        return Finding(DAMAGED, f"{name}: {error}", remedy, repair)
    line = f"{name}: {utterance.audio} was changed"
    return Finding("recordings that were edited", line, "they are measured again", partial(_measure, store, utterance))


def _examine_unclaimed(store: Store, digest: str, paths: Sequence[Path], found: Inventory) -> Iterator[Finding]:
    """Findings for files with the same bytes to which no row will refer."""
    unassigned = list(paths)
    records = found.records.get(digest, [])
    for record in records:
        own = [path for path in unassigned if path.name == Path(str(record.get("file", ""))).name]
        path = next(iter([*own, *unassigned]), paths[0])  # one file may serve several utterances: it is copied
        if path in unassigned:
            unassigned.remove(path)
        line = f"{path}: is utterance {record.get('id')} of {record.get('domain')}: {record.get('text') or 'no text'}"
        remedy = "the utterances are put back, with their texts"
        yield Finding(FOUND_AGAIN, line, remedy, partial(_restore, store, path, digest, record))
    has_owner = bool(records) or found.has_owner(digest)
    for path in unassigned:
        if has_owner:
            line = f"{path}: has the bytes of {found.owner(digest)}"
            repair = partial(_remove_copy, store, path, digest)
            yield Finding("copies of recordings", line, "they are removed", repair)
        else:
            yield _examine_unknown(store, path)


def _examine_unknown(store: Store, path: Path) -> Finding:
    try:
        read(path)
    except BadAudioError as error:
        remedy = "they go into the quarantine"
        return Finding("files that are not audio", str(error), remedy, partial(_move_to_quarantine, store, path))
    remedy = f"they become unlabelled utterances of the domain {RECOVERED!r}"
    return Finding(UNKNOWN, str(path), remedy, partial(_recover, store, path))


def _examine_modes(store: Store, unknown: Collection[Path]) -> Iterator[Finding]:
    """Findings for files that other users can read, except for unknown ones, which have findings of their own."""
    patterns = [pattern for pattern in DATA if "/" not in pattern]  # those of subfolders are covered by `rglob` below
    for entry in private_entries(store.folder, patterns, LINKED):
        below = entry.rglob("*") if entry.is_dir() else ()
        for path in (entry, *below):
            if path not in unknown and is_open_to_others(path):
                remedy = "only you can read them"
                yield Finding(
                    "files and folders that other users can read", str(path), remedy, partial(restrict_access, path)
                )


# Repair. The store may have changed since the examination, so every function checks its finding again.


def _current(store: Store, utterance: StoredUtterance) -> StoredUtterance | None:
    """The utterance as it is now; None if it was deleted or has other audio."""
    try:
        now = store.get(utterance.number)
    except BadInputError:
        return None
    return now if now.audio == utterance.audio else None


def _holds(path: Path, digest: str) -> bool:
    """Whether a file exists and has this SHA-256."""
    return path.is_file() and sha256(path) == digest


def _attach(store: Store, moves: Sequence[tuple[StoredUtterance, Path]]) -> None:
    """Assigns each utterance the file that has its recording now."""
    new_paths = {}
    for utterance, path in moves:
        now = _current(store, utterance)
        if now is not None and not _holds(now.audio, now.sha256) and _holds(path, now.sha256):
            new_paths[now.number] = path
    store.attach(new_paths)


def _quarantine(store: Store, utterance: StoredUtterance, reason: str) -> None:
    now = _current(store, utterance)
    if now is not None and not _holds(now.audio, now.sha256):
        store.remove_to_quarantine(now, reason)


def _quarantine_overwritten(store: Store, utterance: StoredUtterance, digest: str) -> None:
    now = _current(store, utterance)
    if now is not None and _holds(now.audio, digest) and now.sha256 != digest:
        store.remove_to_quarantine(now, "its file held another recording", with_audio=False)
        _remove_copy(store, now.audio, digest)


def _measure(store: Store, utterance: StoredUtterance) -> None:
    """Stores the audio of an edited file, in the form of the store, with its new measurements."""
    now = _current(store, utterance)
    if now is None or not now.audio.is_file():
        return
    new = replace(now, recording=_measured(now.audio))
    try:
        if not is_stored_form(now.audio):
            store.quarantine.copy(now.audio)  # as it was edited; the store keeps 16 kHz, mono
        store.replace(now, new)
    except BadInputError:  # another utterance has this recording now
        store.remove_to_quarantine(now, "its audio was changed into another utterance's")


def _remove_copy(store: Store, path: Path, digest: str) -> None:
    """Removes a file that no row names, if a row names another file with the same bytes."""
    owners = [utterance.audio for utterance in store.with_sha256(digest)]
    if store.is_referenced(path) or not _holds(path, digest):
        return
    if any(_holds(audio, digest) and not path.samefile(audio) for audio in owners):
        path.unlink()


def _restore(store: Store, path: Path, digest: str, record: Mapping[str, Any]) -> None:
    if not _holds(path, digest):  # another utterance with these bytes may have been restored with this file
        owners = [utterance.audio for utterance in store.with_sha256(digest)]
        path = next((audio for audio in owners if _holds(audio, digest)), path)
    if path.is_file():
        try:
            store.restore(record, path)
        except BadInputError:  # somebody edited the quarantine
            _recover(store, path)


def _move_to_quarantine(store: Store, path: Path) -> None:
    if path.is_file():
        store.quarantine.move_in(path)


def _recover(store: Store, path: Path) -> None:
    """Adds a recording that belongs to no utterance as a new, unlabelled one."""
    if not path.is_file() or store.is_referenced(path):
        return
    recording = _measured(path)
    store.add([Utterance(domain=RECOVERED, source="recorded", recording=recording)])
    if is_stored_form(path):
        _remove_copy(store, path, recording.sha256)  # the store has its bytes
    else:
        store.quarantine.move_in(path)


def _measured(path: Path) -> Recording:
    return recording_of(read(path), path.read_bytes() if is_stored_form(path) else None)
