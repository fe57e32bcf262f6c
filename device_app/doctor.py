"""What a crash or a person's hand left in the store: found, told, and mended."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device_app.audio import read
from device_app.importing import new_utterance
from device_app.store import Store, StoredUtterance
from editing.errors import BadAudioError
from editing.files import sha256

RECOVERED = "recovered"  # the domain of recordings that were found without a row


@dataclass
class Findings:
    """Each a list of lines for people; empty where all is well."""

    half_deleted: list[str] = field(default_factory=list)
    half_written: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(vars(self).values())


def examine(store: Store, *, mend: bool = True) -> Findings:
    """Compares every row with its audio and every audio file with the rows.

    With `mend`: deletions are finished and half-written files removed; rows whose audio is gone
    or unreadable are deleted; audio that was edited by hand is measured anew; audio without a row
    becomes an unlabelled utterance of the domain "recovered", if it can be read.

    Raises:
        StorageError: the store cannot be written.
    """
    findings = Findings()
    findings.half_deleted += [f"{name}: a deletion was not finished" for name in store.marked_as_deleted()]
    if mend:
        store.finish_deletions()
    _examine_rows(store, findings, mend)
    for path in store.unknown_files():
        _examine_file(store, path, findings, mend)
    return findings


def _examine_rows(store: Store, findings: Findings, mend: bool) -> None:
    gone = []
    for utterance in list(store.utterances()):
        if not utterance.audio.is_file():
            findings.missing.append(f"utterance {utterance.id}: its audio {utterance.audio} is missing")
            gone.append(utterance.id)
        elif sha256(utterance.audio) != utterance.sha256:
            try:
                audio = read(utterance.audio)
            except BadAudioError as error:
                findings.damaged.append(f"utterance {utterance.id}: {error}")
                gone.append(utterance.id)
                continue
            findings.changed.append(f"utterance {utterance.id}: {utterance.audio} was changed")
            if mend:
                store.replace(utterance, new_utterance(audio, **_known(utterance)))
    if mend and gone:
        store.delete(gone)


def _examine_file(store: Store, path: Path, findings: Findings, mend: bool) -> None:
    if path.name.endswith(".tmp"):
        findings.half_written.append(f"{path}: was being written")
    else:
        findings.orphans.append(f"{path}: audio that nothing is known of")
        if mend:
            with contextlib.suppress(BadAudioError):
                audio = read(path)
                store.add([new_utterance(audio, domain=RECOVERED, text=None, speaker=None, source="recorded")])
    if mend:
        path.unlink(missing_ok=True)


def _known(utterance: StoredUtterance) -> dict[str, Any]:
    return {name: getattr(utterance, name) for name in ("domain", "text", "speaker", "source", "heard", "confidence")}
