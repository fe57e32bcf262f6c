"""The ledger: the edits of a base model, its versions, and the active version.

A version is a list of edits that are applied to the base in order. Its weights are not stored but
rebuilt from the base and the task vectors of the edits:

    theta = base + method_1(vectors_1, settings_1) + method_2(vectors_2, settings_2) + ...

Every change is atomic: after a kill at any moment the ledger is the old or the new one, and its
active version can be rebuilt (`device_app.models.ledger_files`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from device_app.data.names import GUARD_SET
from device_app.models.edited_bundle import edited_bundle
from device_app.models.ledger_files import LedgerFiles
from device_app.models.ledger_record import Applied, DamagedRecordError, Edit, Effect, NewerRecordError, Record, Version
from device_app.paths import data_folder
from editing.errors import BadInputError, StorageError, one_line
from editing.files import sha256, write_atomically
from editing.layers import check_parts
from editing.methods import METHODS
from editing.task_vector import TaskVector
from export.bundle import WEIGHTS, Bundle

__all__ = ["Applied", "Edit", "Ledger", "Version", "edited", "ledger_files"]

# "kept out": the gate rejected it; "merged": an active edit, a merge, has its task vectors
EditState = Literal["active", "kept out", "merged", "reverted"]


class Ledger:
    """The edits of one base model on this machine.

    Attributes:
        base: the bundle.
        edits: all edits, including those that no version has.
        versions: all versions, by number.
        current: the active version.
    """

    def __init__(self, base: Bundle) -> None:
        """Reads the ledger, if there is one.

        Raises:
            StorageError: it is damaged or of a newer asr-edge.
        """
        self.base = base
        self.files = ledger_files(base)
        self.edits: list[Edit] = []
        self.versions = [Version(0, None)]
        self.current = self.versions[0]
        self._read_bytes: bytes | None = None  # the file of the ledger as it was read; None if there is none
        self._written: set[str] = set()  # SHA-256 of the vectors that were stored since `changing` was entered
        self._read()

    @property
    def folder(self) -> Path:
        return self.files.folder

    @property
    def path(self) -> Path:
        """The file of the ledger."""
        return self.files.ledger

    def _read(self) -> None:
        try:
            found = self.files.read_ledger()
        except NewerRecordError as error:
            raise StorageError(
                f"{self.path}: of a newer asr-edge ({error}); nothing was changed. Update asr-edge"
            ) from error
        except DamagedRecordError as error:
            raise self._damaged(str(error)) from error
        if found is None:
            return
        record, self._read_bytes = found
        if record.base != self.base.weights_hash:
            raise self._damaged(f"it belongs to the base {record.base[:8]}, not {self.base.weights_hash[:8]}")
        self.edits, self.versions = list(record.edits), list(record.versions)
        self.current = self.versions[record.current]

    def _damaged(self, reason: str) -> StorageError:
        if self.files.is_previous_intact():
            remedy = (
                "'asr-edge restore FILE' brings it back from a backup; without one, 'asr-edge doctor' restores the "
                "ledger from before the last change"
            )
        else:
            remedy = (
                "'asr-edge restore FILE' brings it back from a backup; without one, let 'asr-edge doctor' quarantine "
                "it and use the base model"
            )
        return StorageError(
            f"{self.path}: is damaged ({reason}); {remedy}. Nothing was changed, no task vector is lost"
        )

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Locks the ledger against changes by other processes, and reads it again.

        Raises:
            BlockedError: another process has locked it.
            StorageError: the data folder cannot be written, or the ledger is damaged.
        """
        with self.files.locked():
            self._written = set()
            self._read()
            yield

    def _write(self, edits: Sequence[Edit], versions: Sequence[Version], current: Version) -> None:
        record = Record(self.base.weights_hash, edits, versions, current.id)
        self.files.write(record, self._read_bytes)
        self._read()

    # Vectors

    def store_vector(self, vector: TaskVector) -> str:
        """Writes the file of a task vector; returns its SHA-256.

        Raises:
            StorageError: it cannot be written.
        """
        data = vector.to_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if not self.vector_path(digest).exists():
            self._written.add(digest)
        write_atomically(self.vector_path(digest), data)
        return digest

    def quarantine_unreferenced(self) -> None:
        """Moves task vectors that no edit refers to into quarantine. Call it inside `changing`.

        Keeps task vectors that the ledger from before the last change refers to. Deletes those that were
        stored since `changing` was entered, so that a dry run leaves no files.

        Raises:
            StorageError: the folder cannot be written.
        """
        for path in self.files.unreferenced_vectors():
            if path.stem in self._written or path.name.endswith(".tmp"):
                path.unlink(missing_ok=True)
            else:
                self.files.move_into_quarantine(path)

    def has_edit_of(self, vector: TaskVector) -> bool:
        """Whether an edit has exactly this task vector."""
        digest = hashlib.sha256(vector.to_bytes()).hexdigest()
        return any(digest in edit.vectors for edit in self.edits)

    def check(self, vectors: Mapping[str, TaskVector]) -> None:
        """Checks that task vectors, by the name to use in error messages, can be merged into the model.

        Raises:
            WrongBaseError, TaskVectorError: one cannot be merged.
        """
        shapes = self.base.shapes()
        for name, vector in vectors.items():
            vector.check(self.base.weights_hash, shapes, name)

    def load(self, path: Path, *, name: str = "") -> TaskVector:
        """Loads a task vector from an untrusted file, which is checked against the base before allocating memory.

        Args:
            path: the file.
            name: name of the file in error messages; the path if empty.

        Raises:
            WrongBaseError, TaskVectorError: the file is damaged, or cannot be merged into the model.
        """
        return TaskVector.load(path, base=self.base.weights_hash, shapes=self.base.shapes(), name=name)

    def vector_path(self, digest: str) -> Path:
        """The path of the task vector with this SHA-256."""
        return self.files.vector(digest)

    def vector(self, digest: str) -> TaskVector:
        """Loads the task vector whose file has this SHA-256.

        Raises:
            StorageError: the file is missing or damaged.
        """
        path = self.vector_path(digest)
        remedy = "'asr-edge doctor' looks for an intact copy; or 'asr-edge restore FILE' brings it back from a backup"
        if not path.is_file():
            raise StorageError(f"{path}: is missing; {remedy}")
        if sha256(path) != digest:
            raise StorageError(f"{path}: is damaged; {remedy}")
        return self.load(path)

    # Versions

    def bundle(self, version: Version) -> Bundle:
        """The bundle of a version: the base with the edits of the version applied."""
        return edited_bundle(self.base, version.applied, self)

    def cannot_apply(self, applied: Applied, reason: str) -> StorageError:
        """The error to raise for an edit of a version that cannot be applied."""
        return StorageError(f"{self.path}: edit {applied.edit} cannot be applied ({one_line(reason)}); revert it")

    def edit(self, identity: int) -> Edit:
        """The edit with this number.

        Raises:
            BadInputError: there is no such edit.
        """
        if not 1 <= identity <= len(self.edits):
            raise BadInputError(f"there is no edit {identity}; 'asr-edge log' lists the edits")
        return self.edits[identity - 1]

    def find_version(self, identity: int) -> Version:
        """The version with this number.

        Raises:
            BadInputError: there is no such version.
        """
        if not 0 <= identity < len(self.versions):
            raise BadInputError(
                f"there is no version {identity}; versions are numbered from 0, the base, to {len(self.versions) - 1}"
            )
        return self.versions[identity]

    def history(self) -> list[Version]:
        """The versions that led to the active one, the base first."""
        found = [self.current]
        while (parent := found[-1].parent) is not None:
            found.append(self.versions[parent])
        return found[::-1]

    def domains(self, version: Version) -> list[str]:
        """The domains of the edits of a version, in the order of the edits."""
        return list(dict.fromkeys(d for applied in version.applied for d in self.edit(applied.edit).domains))

    def is_applied(self, identity: int) -> bool:
        """Whether the active version has this edit."""
        return self.current.how_applied(identity) is not None

    def state(self, edit: Edit) -> EditState:
        """Whether the active version has an edit; if not, whether an earlier one had it or the gate rejected it."""
        if self.is_applied(edit.id):
            return "active"
        if self.current.merged(edit) is not None:
            return "merged"
        return "reverted" if self._applied_last(edit) is not None or not edit.reasons else "kept out"

    def effect(self, edit: Edit) -> Effect:
        """The settings that an edit was applied with last, for instance before it was reverted, and its WERs then."""
        versions = self.history()
        last = self._applied_last(edit)
        if last is None:
            return Effect(edit.settings, edit.before, edit.after)
        applied, since = last
        before, domains = dict(edit.before), [*edit.before]
        after = {**edit.after, **versions[since].wer}
        if edit.reasons or any(version.how_applied(edit.id) is not None for version in versions[:since]):
            # It was rejected at first, or applied with other settings. Otherwise its adaptation measured both.
            before |= {domain: wer for domain, wer in versions[since - 1].wer.items() if domain in versions[since].wer}
            if edit.reasons and GUARD_SET in before.keys() & after.keys():  # then perhaps measured in part only
                domains = list(dict.fromkeys([*domains, GUARD_SET]))
        return Effect(applied.settings, {d: before[d] for d in domains}, {d: after[d] for d in domains})

    def _applied_last(self, edit: Edit) -> tuple[Applied, int] | None:
        """How an edit is applied, or was when it was taken out, and since which version, as an index of the history.

        None if no version of the history has it.
        """
        found: tuple[Applied, int] | None = None
        for index, version in reversed(list(enumerate(self.history()))):
            applied = version.how_applied(edit.id)
            if found is not None and applied != found[0]:
                break
            if applied is not None:
                found = applied, index
        return found

    def draft(self, applied: Sequence[Applied], why: str) -> Version:
        """Creates a draft: a version that is not in the ledger yet. `promote` records it and makes it active.

        Args:
            applied: its edits, in order.
            why: the change that created it, for `Version.why`.
        """
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return Version(len(self.versions), self.current.id, tuple(applied), why, created)

    def with_edit(self, edit: Edit, replaced: Sequence[int] = ()) -> Version:
        """A draft: the active version with a new edit, and without the edits that it replaces or contains.

        Raises:
            BadInputError: another edit has a task vector of it.
        """
        others = [applied for applied in self.current.applied if applied.edit not in replaced]
        kept = replace(self.current, applied=others).beside(edit)
        applied = Applied(edit.id, edit.vectors, edit.method, edit.settings)
        return self.draft([*kept, applied], f"{edit.kind} {edit.domain}".strip())

    def without(self, identity: int) -> Version:
        """A draft: the active version without one of its edits, which need not be the last.

        Raises:
            BadInputError: the active version does not have this edit.
        """
        if (merge := self.current.merged(self.edit(identity))) is not None:
            raise BadInputError(f"edit {identity} is only a part of edit {merge.edit}; revert that one")
        if not self.is_applied(identity):
            raise BadInputError(f"edit {identity} is not part of the active version; 'asr-edge log' shows which are")
        return self.draft([one for one in self.current.applied if one.edit != identity], f"revert {identity}")

    def with_settings(self, identity: int, **settings: Any) -> Version:
        """A draft: the active version with other settings of an edit, which is added if it is not applied yet.

        Settings that are not given stay as they were applied last.

        Raises:
            BadInputError: there is no such edit, its method has no such setting, a value is out of range, or another
                active edit has a task vector of it.
        """
        edit = self.edit(identity)
        now = Applied(edit.id, edit.vectors, edit.method, {**self.effect(edit).settings, **settings})
        try:
            METHODS[now.method].check(now.settings, len(now.vectors))
            check_parts("lambda", now.settings.get("lam", 1.0), self.base.shapes())
        except BadInputError as error:
            raise BadInputError(f"{error}; nothing was changed") from None
        if self.is_applied(identity):
            applied = [now if one.edit == identity else one for one in self.current.applied]
        else:
            applied = [*self.current.beside(edit), now]
        return self.draft(applied, f"reweight {identity}")

    # Changes; call these inside `changing`

    def promote(self, version: Version, edit: Edit | None = None) -> None:
        """Makes a draft version active and records its new edit, if any, atomically."""
        edits = [*self.edits, edit] if edit is not None else self.edits
        self._write(edits, [*self.versions, version], version)

    def reject(self, edit: Edit) -> None:
        """Records an edit that the gate rejected; it is part of no version."""
        self._write([*self.edits, edit], self.versions, self.current)

    def record_retired_terms(self, edit: int, terms: Sequence[str]) -> None:
        """Records which terms left the list of terms because of an edit; they replace those recorded before."""
        edits = [replace(one, retired_terms=list(terms)) if one.id == edit else one for one in self.edits]
        self._write(edits, self.versions, self.current)

    def previous(self) -> Version:
        """The version that was active before the active one.

        Raises:
            BadInputError: the base is active.
        """
        if self.current.parent is None:
            raise BadInputError("the base model is active; there is no version before it")
        return self.versions[self.current.parent]

    def roll_back(self) -> Version:
        """Makes the previous version active again.

        Raises:
            BadInputError: the base is active.
        """
        self._write(self.edits, self.versions, self.previous())
        return self.current

    def record_wer(self, version: Version, wer: Mapping[str, float]) -> None:
        """Records measured WERs of a version, by domain."""
        versions = list(self.versions)
        versions[version.id] = replace(versions[version.id], wer={**versions[version.id].wer, **wer})
        self._write(self.edits, versions, versions[self.current.id])


def ledger_files(base: Bundle) -> LedgerFiles:
    """The files of the ledger of a base model in the data folder; they need not exist."""
    return LedgerFiles(data_folder() / "ledgers" / base.weights_hash[:16])


def edited(base: Bundle, version: int | None = None) -> Bundle:
    """A base with the edits of its active version on this machine, or of another version.

    An exported bundle has no weights to edit and is returned unchanged.

    Raises:
        BadInputError: there is no such version.
        StorageError: the ledger is damaged.
    """
    if WEIGHTS not in base.files:
        if version:
            raise BadInputError(f"{base.folder}: an exported model; it has no versions")
        return base
    ledger = Ledger(base)
    return ledger.bundle(ledger.current if version is None else ledger.find_version(version))
