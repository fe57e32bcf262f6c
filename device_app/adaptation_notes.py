"""Notes of adaptations that made no edit: those that were interrupted, and those that had nothing to gain.

`status` reads them, so that it proposes what helps. A lost or damaged note costs only such a proposal.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from device_app.data.utterance import StoredUtterance
from device_app.models.ledger import Ledger
from device_app.paths import data_folder
from editing.errors import BlockedError, StorageError
from editing.files import write_atomically
from editing.json_text import read_json
from editing.privacy import make_folder
from export.bundle import Bundle

NOTHING_TO_GAIN_FILE = "nothing-to-gain.json"  # in the folder of the ledger: hashes (`_state_hash`), no names or texts
MAX_BYTES = 1 << 20  # of a file with notes; a larger one is ignored as damaged
MAX_NOTES = 50  # of nothing to gain; the oldest is dropped
KEPT_DAYS = 30  # that the files of an interrupted fine-tuning are kept; those of the embedded model have 0.3 GB


def checkpoint_folder() -> Path:
    """The folder of the checkpoints of fine-tunings on this machine. It need not exist."""
    return data_folder() / "training"


@dataclass(frozen=True)
class TrainingRun:
    """A fine-tuning on this machine. The fine-tunings of all models and domains share one folder.

    NAME.safetensors        the checkpoint, replaced once a minute
    NAME.json               a note of the attributes, written before the checkpoint
    .NAME.*.tmp             an unfinished copy of one of them, if the process was killed while it wrote

    Attributes:
        name: the name of its files; it differs with the version of the model, the utterances and their texts.
        domain: the domain that it adapts to.
        base: the hash of the base model's weights.
        version: the `version_mark` of the weights that it starts from.
    """

    name: str
    domain: str
    base: str
    version: str

    @property
    def checkpoint(self) -> Path:
        return checkpoint_folder() / f"{self.name}.safetensors"

    @property
    def note(self) -> Path:
        return checkpoint_folder() / f"{self.name}.json"

    def begin(self) -> None:
        """Notes the run, and removes the files of those that will not be continued.

        These are runs of the same base model and domain with other utterances; those that start from another version
        of this base model; and files of any model that nothing has written to for `KEPT_DAYS`. Call it inside
        `ledger.changing()`, so that no other run of this base model is active. One of another base model may be.

        Raises:
            StorageError: the note cannot be written.
        """
        replaced = [
            run.name
            for run in _runs()
            if run.base == self.base and run.name != self.name
            if run.domain == self.domain or run.version != self.version
        ]
        _remove([*replaced, *_abandoned()])
        make_folder(checkpoint_folder())
        content = {key: value for key, value in asdict(self).items() if key != "name"}
        write_atomically(self.note, json.dumps(content).encode(), private=True)

    def end(self) -> None:
        """Removes its files. A file that cannot be removed is left to a later run: the adaptation has succeeded."""
        _remove([self.name])


def version_mark(bundle: Bundle) -> str:
    """Identifies the weights and graphs of a version of a model."""
    return hashlib.sha256(json.dumps(bundle.bake_inputs).encode()).hexdigest()[:16]


def interrupted_domains(ledger: Ledger) -> list[str]:
    """The domains, by name, of fine-tunings that the active version can continue; none while one of this model runs."""
    runs = [run for run in _runs() if run.base == ledger.base.weights_hash and run.checkpoint.is_file()]
    if not runs:
        return []
    active = version_mark(ledger.bundle(ledger.current))
    try:
        with ledger.files.locked():  # an adaptation holds this lock
            return sorted({run.domain for run in runs if run.version == active})
    except (BlockedError, StorageError):
        return []


def _runs() -> list[TrainingRun]:
    """The fine-tunings that have a note which can be read."""
    found = [(path.stem, _read(path)) for path in checkpoint_folder().glob("[!.]*.json")]
    keys = {"domain", "base", "version"}
    return [
        TrainingRun(name, **note)
        for name, note in found
        if isinstance(note, dict) and note.keys() == keys and all(isinstance(value, str) for value in note.values())
    ]


def _files() -> list[tuple[str, Path]]:
    """All files in the folder of the checkpoints, each with the name of its run."""
    return [(path.name.lstrip(".").partition(".")[0], path) for path in checkpoint_folder().glob("*")]


def _abandoned() -> set[str]:
    """The names of runs without a file that was written in the last `KEPT_DAYS`."""
    written: dict[str, float] = {}  # by name, the time of the last write
    for name, path in _files():
        with suppress(OSError):  # its run has ended meanwhile
            written[name] = max(written.get(name, 0.0), path.stat().st_mtime)
    return {name for name, at in written.items() if at < time.time() - KEPT_DAYS * 24 * 3600}


def _remove(names: Iterable[str]) -> None:
    removed = {*names}
    files = [path for name, path in _files() if name in removed]
    # The notes last, so that the other files still have them if the process is killed in between.
    for path in sorted(files, key=lambda path: path.suffix == ".json"):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def note_nothing_to_gain(ledger: Ledger, labelled: Sequence[StoredUtterance]) -> None:
    """Notes that the active version makes no error on the held-out ones of these utterances."""
    state = _state_hash(ledger, labelled)
    known = [one for one in _noted_states(ledger) if one != state]
    content = json.dumps([*known, state][-MAX_NOTES:]).encode()
    with suppress(StorageError):  # without the note, `status` only makes a proposal that leads nowhere
        write_atomically(ledger.folder / NOTHING_TO_GAIN_FILE, content, private=True)


def has_nothing_to_gain(ledger: Ledger, labelled: Sequence[StoredUtterance]) -> bool:
    """Whether this was noted for the same version and the same utterances with the same texts."""
    return bool(noted := _noted_states(ledger)) and _state_hash(ledger, labelled) in noted


def _noted_states(ledger: Ledger) -> list[object]:
    """The state hashes for which nothing to gain was noted; empty if the file is missing or damaged."""
    found = _read(ledger.folder / NOTHING_TO_GAIN_FILE)
    return found if isinstance(found, list) else []


def _state_hash(ledger: Ledger, labelled: Sequence[StoredUtterance]) -> str:
    """Identifies the active version together with the labelled utterances and their texts."""
    state = [ledger.current.id, sorted((one.sha256, one.text) for one in labelled)]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _read(path: Path) -> object:
    """The content of a JSON file; None if it is missing, too large or damaged."""
    try:
        return read_json(path, max_bytes=MAX_BYTES)
    except (OSError, ValueError):
        return None
