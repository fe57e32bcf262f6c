"""What a crash, a missing disk or a person's hand did to the store: found, shown, and mended when wanted.

Nothing is lost for good: before a row is removed, everything that is known of its utterance goes into
the quarantine (`device_app.data.store.quarantine`), and damaged audio goes there too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from device_app.audio.samples import read
from device_app.data.recordings import is_stored_form, recording_of
from device_app.data.store import Store
from device_app.data.utterance import Recording, StoredUtterance, Utterance
from device_app.finding import Finding
from device_app.paths import DATA
from editing.errors import BadAudioError, BadInputError, StorageError
from editing.files import is_open_to_others, restrict_access, sha256

RECOVERED = "recovered"  # the domain of recordings of which nothing is known

MISSING = "utterances whose audio is missing"
DAMAGED = "utterances whose audio is damaged"


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
    orphans: dict[str, list[Path]] = defaultdict(list)
    unknown = store.unknown_files()
    for path in unknown:
        if path.name.startswith(".") and path.name.endswith(".tmp"):
            mend = partial(path.unlink, missing_ok=True)
            findings.append(Finding("half-written files", str(path), "they are removed", mend))
        else:
            orphans[sha256(path)].append(path)
    intact: dict[str, Path] = {}
    for utterance in store.utterances():
        found = _examine_row(store, utterance, orphans)
        if found is None:
            intact[utterance.sha256] = utterance.audio
        else:
            findings.append(found)
    records = {record.get("sha256"): record for record in store.quarantine.records()}
    for digest, paths in orphans.items():
        twin = intact.get(digest)
        findings += [
            _examine_orphan(store, path, digest, intact, records.get(digest))
            for path in paths
            if twin is None or not path.samefile(twin)  # a link leads from the row's name to the file: there is no copy
        ]
    return [*findings, *_examine_modes(store, {*unknown})]


def mend(store: Store, findings: Sequence[Finding], *, missing_is_gone: bool = False) -> None:
    """Mends everything.

    Args:
        store: which was examined.
        findings: as `examine` gave them.
        missing_is_gone: go on even where most recordings are missing.

    Raises:
        StorageError: most recordings are missing, nothing was changed; or the store cannot be written.
    """
    if not missing_is_gone:
        refuse_if_most_are_missing(store, findings)
    for finding in findings:
        if finding.mend is not None:
            finding.mend()


def refuse_if_most_are_missing(store: Store, findings: Sequence[Finding]) -> None:
    """
    Raises:
        StorageError: more than half of the recordings are missing or damaged, which no crash does.
    """
    total = sum(stats.utterances for stats in store.stats())
    missing = sum(finding.kind in (MISSING, DAMAGED) for finding in findings)
    if 2 * missing > total:
        raise StorageError(
            f"{store.audio_folder}: {missing} of {total} recordings are missing or damaged; nothing was changed. "
            "Is the disk mounted? If they are really gone: asr-edge doctor --missing-is-gone"
        )


def _examine_row(store: Store, utterance: StoredUtterance, orphans: dict[str, list[Path]]) -> Finding | None:
    """What is wrong with an utterance; takes the orphan that is its audio out of `orphans`."""
    name = f"utterance {utterance.number}"
    if not utterance.audio.is_file():
        if paths := orphans.get(utterance.sha256):
            path = paths.pop()
            remedy = "the utterances name the new place"
            return Finding(
                "recordings that were moved", f"{name}: {path}", remedy, lambda: _attach(store, utterance, path)
            )
        line = f"{name}: its audio {utterance.audio} is missing"
        remedy = "their texts go into the quarantine, and come back when the audio does"
        return Finding(MISSING, line, remedy, lambda: _quarantine(store, utterance, "its audio was missing"))
    if sha256(utterance.audio) == utterance.sha256:
        return None
    try:
        read(utterance.audio)
    except BadAudioError as error:
        remedy = "audio and texts go into the quarantine"
        return Finding(
            DAMAGED, f"{name}: {error}", remedy, lambda: _quarantine(store, utterance, "its audio was damaged")
        )
    line = f"{name}: {utterance.audio} was changed"
    return Finding("recordings that were edited", line, "they are measured again", lambda: _measure(store, utterance))


def _examine_orphan(
    store: Store, path: Path, digest: str, intact: Mapping[str, Path], record: Mapping[str, Any] | None
) -> Finding:
    """What to do with a file that no row names: `record` is what the quarantine has of it."""
    if (twin := intact.get(digest)) is not None:
        line = f"{path}: has the bytes of {twin}"
        return Finding("copies of recordings", line, "they are removed", lambda: _remove_copy(path, twin, digest))
    if record is not None:
        line = f"{path}: is utterance {record.get('id')} of {record.get('domain')}: {record.get('text') or 'no text'}"
        remedy = "the utterances are put back, with their texts"
        return Finding("recordings that came back", line, remedy, lambda: _restore(store, path, record))
    try:
        read(path)
    except BadAudioError as error:
        remedy = "they go into the quarantine"
        return Finding("files that are no audio", str(error), remedy, lambda: _take(store, path))
    remedy = f"they become unlabelled utterances of the domain {RECOVERED!r}"
    return Finding("recordings without an utterance", str(path), remedy, lambda: _recover(store, path))


def _examine_modes(store: Store, unknown: Collection[Path]) -> Iterator[Finding]:
    """Files that were put there by hand, but for those that are found to be unknown anyway."""
    entries = [entry for pattern in DATA if "/" not in pattern for entry in store.folder.glob(pattern)]
    for entry in entries:
        inside = entry.rglob("*") if entry.is_dir() and not entry.is_symlink() else ()
        for path in (entry, *inside):
            if path not in unknown and is_open_to_others(path):
                remedy = "only you can read them"
                yield Finding(
                    "files and folders that other users can read", str(path), remedy, partial(restrict_access, path)
                )


# Mending. Time has passed since the examination: the person was asked, other processes may have been at work.


def _current(store: Store, utterance: StoredUtterance) -> StoredUtterance | None:
    """The utterance as it is now; None if it is gone, or has got other audio."""
    try:
        now = store.get(utterance.number)
    except BadInputError:
        return None
    return now if now.audio == utterance.audio else None


def _attach(store: Store, utterance: StoredUtterance, path: Path) -> None:
    now = _current(store, utterance)
    if now is not None and not now.audio.is_file() and path.is_file():
        store.attach(now.number, path)


def _quarantine(store: Store, utterance: StoredUtterance, reason: str) -> None:
    now = _current(store, utterance)
    if now is not None and not (now.audio.is_file() and sha256(now.audio) == now.sha256):
        store.remove_to_quarantine(now, reason)


def _measure(store: Store, utterance: StoredUtterance) -> None:
    now = _current(store, utterance)
    if now is None or not now.audio.is_file():
        return
    new = replace(now, recording=_measured(now.audio))
    try:
        if not is_stored_form(now.audio):
            store.quarantine.copy(now.audio)  # as it was edited; the store keeps 16 kHz, mono
        store.replace(now, new)
    except BadInputError:  # it is another utterance's recording by now
        store.remove_to_quarantine(now, "its audio was changed into another utterance's")


def _remove_copy(path: Path, twin: Path, digest: str) -> None:
    if path.is_file() and twin.is_file() and not path.samefile(twin) and sha256(twin) == digest:
        path.unlink()


def _restore(store: Store, path: Path, record: Mapping[str, Any]) -> None:
    if path.is_file():
        try:
            store.restore(record, path)
        except BadInputError:  # somebody edited the quarantine
            _recover(store, path)


def _take(store: Store, path: Path) -> None:
    if path.is_file():
        store.quarantine.take(path)


def _recover(store: Store, path: Path) -> None:
    if not path.is_file():
        return
    store.add([Utterance(domain=RECOVERED, source="recorded", recording=_measured(path))])
    if is_stored_form(path):
        path.unlink()  # the store has its bytes
    else:
        store.quarantine.take(path)


def _measured(path: Path) -> Recording:
    return recording_of(read(path), path.read_bytes() if is_stored_form(path) else None)
