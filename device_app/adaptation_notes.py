"""Notes of adaptations that made no edit: one that was interrupted, and those that had nothing to gain.

`status` reads them, so that it proposes what helps. A lost or damaged note costs only such a proposal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from device_app.data.utterance import StoredUtterance
from device_app.models.ledger import Ledger
from device_app.paths import data_folder
from editing.errors import BlockedError, StorageError
from editing.files import write_atomically
from editing.json_text import read_json
from editing.privacy import make_folder

NOTHING_TO_GAIN = "nothing-to-gain.json"  # in the folder of the ledger; hashes, without names or texts
STARTED = "domain.json"  # beside the checkpoints
MAX_BYTES = 1 << 20
KEPT = 50


def checkpoint_folder() -> Path:
    """The folder of the checkpoints of fine-tunings on this machine. It need not exist."""
    return data_folder() / "training"


def note_started(domain: str) -> None:
    """Notes which domain a fine-tuning is for. The note is in the folder of the checkpoints, and is removed with them.

    Raises:
        StorageError: it cannot be written.
    """
    make_folder(checkpoint_folder())
    write_atomically(checkpoint_folder() / STARTED, json.dumps(domain).encode(), private=True)


def interrupted_domain(ledger: Ledger) -> str | None:
    """The domain of a fine-tuning that was interrupted after its first checkpoint; None also while it runs."""
    if not any(checkpoint_folder().glob("*.safetensors")):
        return None
    found = _read(checkpoint_folder() / STARTED)
    try:
        with ledger.files.locked():  # an adaptation holds this lock
            return found if isinstance(found, str) else None
    except (BlockedError, StorageError):
        return None


def note_nothing_to_gain(ledger: Ledger, labelled: Sequence[StoredUtterance]) -> None:
    """Notes that the active version makes no error on the held-out ones of these utterances."""
    mark = _mark(ledger, labelled)
    known = [one for one in _marks(ledger) if one != mark]
    content = json.dumps([*known, mark][-KEPT:]).encode()
    with suppress(StorageError):  # it only saves a proposal that leads nowhere
        write_atomically(ledger.folder / NOTHING_TO_GAIN, content, private=True)


def has_nothing_to_gain(ledger: Ledger, labelled: Sequence[StoredUtterance]) -> bool:
    """Whether this was noted for the same version and the same utterances with the same texts."""
    return bool(marks := _marks(ledger)) and _mark(ledger, labelled) in marks


def _marks(ledger: Ledger) -> list[object]:
    found = _read(ledger.folder / NOTHING_TO_GAIN)
    return found if isinstance(found, list) else []


def _mark(ledger: Ledger, labelled: Sequence[StoredUtterance]) -> str:
    state = [ledger.current.id, sorted((one.sha256, one.text) for one in labelled)]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _read(path: Path) -> object:
    try:
        return read_json(path, max_bytes=MAX_BYTES)
    except (OSError, ValueError):
        return None
