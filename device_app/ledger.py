"""The ledger: which edits there are, which versions they make up, and which one is in service.

A version is a list of edits, applied in order to the base; its weights are never stored, but made
again from the base and the edits' task vectors:

    theta = base + method_1(vectors_1, settings_1) + method_2(vectors_2, settings_2) + ...

Everything is in one folder a base model: `ledger.json`, replaced in one step, and `vectors/`, files
named by their hash that are written before the ledger names them. So a kill at any moment leaves
the ledger of before or of after, and the version that it names can always be made.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from device_app.models import data_folder
from editing.errors import BadInputError, StorageError
from editing.files import make_folder, sha256, write_atomically
from editing.registry import METHODS, Tensors
from editing.sparsify import Array
from editing.task_vector import TaskVector, apply
from export.bundle import WEIGHTS, Bundle

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Edit:
    """One change of the weights.

    Attributes:
        id: its number.
        kind: "adapt", "import" (a vector from elsewhere) or "merge" (several).
        domains: what was learnt; several for a merge.
        vectors: hashes of the task vectors' files.
        method, settings: how they are merged at first.
        created: ISO 8601, UTC.
        utterances, seconds: what it was learnt from.
        before, after: WER by domain when it was judged.
        reasons: why the gate kept it out; empty where it did not.
    """

    id: int
    kind: str
    domains: Sequence[str]
    vectors: Sequence[str]
    method: str
    settings: Mapping[str, Any]
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    utterances: int = 0
    seconds: float = 0.0
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    reasons: Sequence[str] = ()

    @property
    def domain(self) -> str:
        """What was learnt, for people."""
        return " + ".join(self.domains)


@dataclass(frozen=True)
class Applied:
    """An edit as a version has it: perhaps with other settings than at first."""

    edit: int
    vectors: Sequence[str]
    method: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Version:
    """A list of edits.

    Attributes:
        id: its number; 0 is the base.
        parent: the version that was in service before.
        applied: the edits, in order.
        why: what made it, for people.
        created: ISO 8601, UTC.
        wer: by domain, as far as it was measured.
    """

    id: int
    parent: int | None
    applied: Sequence[Applied] = ()
    why: str = "the base model"
    created: str = ""
    wer: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EditedBundle(Bundle):
    """A bundle whose weights are the base's and a version's edits; all else is the base's."""

    ledger: Ledger = field(kw_only=True, repr=False)
    version: Version = field(kw_only=True)

    def weights(self) -> dict[str, Array]:
        """As `Bundle.weights`, the edits applied."""
        return self.ledger.weights(self.version)

    @property
    def recipe(self) -> list[Any]:
        return [*super().recipe, [[list(a.vectors), a.method, dict(a.settings)] for a in self.version.applied]]


class Ledger:
    """The edits of one base model on this machine.

    Attributes:
        base: the bundle.
        edits: all, also those that no version has.
        versions: all, by number.
        current: the version in service.
    """

    def __init__(self, base: Bundle) -> None:
        """Reads the ledger, if there is one.

        Raises:
            StorageError: it is damaged or of a later asr-edge.
        """
        self.base = base
        self.folder = data_folder() / "ledgers" / base.weights_hash[:16]
        self.path = self.folder / "ledger.json"
        self.edits: list[Edit] = []
        self.versions = [Version(0, None)]
        self.current = self.versions[0]
        self._read()

    def _read(self) -> None:
        try:
            record = json.loads(self.path.read_text("utf-8"))
            if record["format_version"] != FORMAT_VERSION:
                raise StorageError(f"{self.path}: of a later asr-edge (format {record['format_version']})")
            self.edits = [Edit(**edit) for edit in record["edits"]]
            self.versions = [
                Version(**{**version, "applied": [Applied(**applied) for applied in version["applied"]]})
                for version in record["versions"]
            ]
            self.current = self.versions[int(record["current"])]
        except (FileNotFoundError, NotADirectoryError):
            return
        except StorageError:
            raise
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise StorageError(
                f"{self.path}: is damaged ({error}). Move it away to go on with the base model, or take it from a "
                "backup; the task vectors beside it are whole"
            ) from error

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keeps other processes from changing the ledger; what they changed before is read.

        Raises:
            BadInputError: another process is changing it.
            StorageError: the data folder cannot be written.
        """
        try:
            make_folder(self.folder)
            (self.folder / "lock").touch(0o600)
            lock = (self.folder / "lock").open("a")
        except OSError as error:
            raise StorageError(f"{self.folder}: cannot be written ({error.strerror})") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadInputError("another asr-edge is changing this model; wait until it has finished") from None
            self._read()
            yield

    def _write(self, edits: Sequence[Edit], versions: Sequence[Version], current: Version) -> None:
        record = {
            "format_version": FORMAT_VERSION,
            "base": self.base.weights_hash,
            "current": current.id,
            "edits": [asdict(edit) for edit in edits],
            "versions": [asdict(version) for version in versions],
        }
        write_atomically(self.path, (json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode())
        self._read()

    # Vectors

    def keep(self, vector: TaskVector) -> str:
        """Writes a task vector's file; returns the hash by which it is known.

        Raises:
            StorageError: it cannot be written.
        """
        data = vector.to_bytes()
        name = hashlib.sha256(data).hexdigest()
        write_atomically(self.vector_path(name), data)
        return name

    def has_edit_of(self, vector: TaskVector) -> bool:
        """Whether this very vector is an edit's already."""
        name = hashlib.sha256(vector.to_bytes()).hexdigest()
        return any(name in edit.vectors for edit in self.edits)

    def check(self, vectors: Mapping[str, TaskVector]) -> None:
        """Whether vectors, by what errors call them, can be merged into the model.

        Raises:
            WrongBaseError, TaskVectorError: one cannot.
        """
        shapes = self.base.shapes()
        for name, vector in vectors.items():
            vector.check(self.base.weights_hash, shapes, name)

    def load(self, path: Path, *, name: str = "") -> TaskVector:
        """A task vector from a file of anybody's; it is compared with the base before it takes memory.

        Args:
            path: the file.
            name: what to call it in errors; its path, if empty.

        Raises:
            WrongBaseError, TaskVectorError: it is damaged, or cannot be merged into the model.
        """
        return TaskVector.load(path, base=self.base.weights_hash, shapes=self.base.shapes(), name=name)

    def vector_path(self, name: str) -> Path:
        """Where the task vector of this hash is."""
        return self.folder / "vectors" / f"{name}.safetensors"

    def vector(self, name: str) -> TaskVector:
        """
        Raises:
            TaskVectorError: the file is missing.
            StorageError: its bytes have changed.
        """
        path = self.vector_path(name)
        if path.is_file() and sha256(path) != name:
            raise StorageError(f"{path}: its bytes have changed; take it from a backup, or revert its edit")
        return self.load(path)

    # Versions

    def bundle(self, version: Version) -> Bundle:
        """The base with a version's edits, for a `Transcriber` or an export."""
        if not version.applied:
            return self.base
        own = {one.name: getattr(self.base, one.name) for one in fields(Bundle)}
        own["files"] = {n: digest for n, digest in self.base.files.items() if not n.startswith(("int8/", "fp32/"))}
        return EditedBundle(**own, ledger=self, version=version)

    def weights(self, version: Version) -> dict[str, Array]:
        """A version's weights, by parameter name.

        Raises:
            AsrEdgeError: the base or a vector is missing or damaged.
        """
        weights = self.base.weights()
        for applied in version.applied:
            weights = with_edit(weights, applied, self.vector)
        return weights

    def edit(self, identity: int) -> Edit:
        """
        Raises:
            BadInputError: there is no such edit.
        """
        if not 1 <= identity <= len(self.edits):
            raise BadInputError(f"there is no edit {identity}; 'asr-edge log' shows what there is")
        return self.edits[identity - 1]

    def find_version(self, identity: int) -> Version:
        """
        Raises:
            BadInputError: there is no such version.
        """
        if not 0 <= identity < len(self.versions):
            raise BadInputError(
                f"there is no version {identity}; they go from 0, the base, to {len(self.versions) - 1}"
            )
        return self.versions[identity]

    def history(self) -> list[Version]:
        """The versions that led to the one in service, the base first."""
        found = [self.current]
        while (parent := found[-1].parent) is not None:
            found.append(self.versions[parent])
        return found[::-1]

    def learnt(self, version: Version) -> list[str]:
        """The domains of a version's edits, in the order in which they came."""
        return list(dict.fromkeys(d for applied in version.applied for d in self.edit(applied.edit).domains))

    def is_applied(self, identity: int) -> bool:
        """Whether the version in service has this edit."""
        return any(applied.edit == identity for applied in self.current.applied)

    def draft(self, applied: Sequence[Applied], why: str) -> Version:
        """A version that might follow the one in service; `promote` puts it there."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return Version(len(self.versions), self.current.id, tuple(applied), why, created)

    def drafted(self, edit: Edit, replaced: Sequence[int] = ()) -> Version:
        """The version in service with one more edit, in place of those that are `replaced`."""
        left = [applied for applied in self.current.applied if applied.edit not in replaced]
        applied = Applied(edit.id, edit.vectors, edit.method, edit.settings)
        return self.draft([*left, applied], f"{edit.kind} {edit.domain}".strip())

    def without(self, identity: int) -> Version:
        """The version in service without one of its edits, also one in the middle.

        Raises:
            BadInputError: it does not have it.
        """
        self._applied(identity)
        left = [applied for applied in self.current.applied if applied.edit != identity]
        return self.draft(left, f"revert {identity}")

    def with_settings(self, identity: int, **settings: Any) -> Version:
        """The version in service with one of its edits weighed otherwise, or with one that was kept out.

        Raises:
            BadInputError: there is no such edit, or its method has no such setting.
        """
        edit = self.edit(identity)
        before = self._applied(identity) if self.is_applied(identity) else None
        method = METHODS[edit.method]
        unknown = settings.keys() - method.settings.keys()
        if unknown:
            raise BadInputError(f"{edit.method} has no {', '.join(unknown)}; it has {', '.join(method.settings)}")
        now = Applied(edit.id, edit.vectors, edit.method, {**(before or edit).settings, **settings})
        if before is None:
            applied = [*self.current.applied, now]
        else:
            applied = [now if one.edit == identity else one for one in self.current.applied]
        return self.draft(applied, f"remix {identity}")

    def _applied(self, identity: int) -> Applied:
        edit = self.edit(identity)
        for applied in self.current.applied:
            if applied.edit == edit.id:
                return applied
        raise BadInputError(f"edit {identity} is not part of the version in service; 'asr-edge log' shows which are")

    # Changing; within `changing`

    def promote(self, version: Version, edit: Edit | None = None) -> None:
        """Puts a drafted version into service, in one step, with the edit that made it, if it is new."""
        edits = [*self.edits, edit] if edit is not None else self.edits
        self._write(edits, [*self.versions, version], version)

    def keep_out(self, edit: Edit) -> None:
        """Notes an edit that the gate did not let into service."""
        self._write([*self.edits, edit], self.versions, self.current)

    def roll_back(self) -> Version:
        """Puts the version before into service again.

        Raises:
            BadInputError: the base is in service.
        """
        if self.current.parent is None:
            raise BadInputError("the base model is in service; there is nothing before it")
        self._write(self.edits, self.versions, self.versions[self.current.parent])
        return self.current

    def note(self, version: Version, wer: Mapping[str, float]) -> None:
        """Adds what was measured of a version."""
        versions = list(self.versions)
        versions[version.id] = replace(versions[version.id], wer={**versions[version.id].wer, **wer})
        self._write(self.edits, versions, versions[self.current.id])


def with_edit(weights: Tensors, applied: Applied, load: Callable[[str], TaskVector]) -> dict[str, Array]:
    """Weights and one edit more: merges its vectors, which `load` gives by their hash, and adds them.

    Raises:
        TaskVectorError: the result is not finite.
    """
    merged = METHODS[applied.method]([load(name).tensors for name in applied.vectors], **applied.settings)
    return apply(weights, merged, out=merged)


def edited(base: Bundle, version: int | None = None) -> Bundle:
    """A base with the edits that are in service on this machine, or with those of another version.

    A bundle that was exported to run elsewhere has no weights to edit, and is as it is.

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
