"""What a worker does with a job: unpack, make the device's model again, fine-tune, write the vector.

It is given a folder and leaves its result there, so it runs in a process of its own on this machine
or on any that shares the folder; if it dies, another one goes on after its last checkpoint.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from device_app.adaptation.training_set import TrainingSet
from device_app.audio.samples import duration_s
from device_app.data.utterance import Utterance
from device_app.models.bundles import find_base
from device_app.models.ledger import Applied, with_edit
from device_app.remote.archive import Unpacked, unpack
from editing.errors import AsrEdgeError, BadInputError
from editing.files import private_folder, sha256, write_atomically
from editing.method import Tensors
from editing.task_vector import Origin, TaskVector
from export.bundle import Bundle
from trainer.host.ray_train import learn_together, workers_for

REQUEST = "request.json"
ARCHIVE = "dataset.tar"
PROGRESS = "progress.json"
RESULT = "result.json"
VECTOR = "vector.safetensors"
CHECKPOINT = "checkpoint.safetensors"
OPENED = "dataset"
INDEX = "index.json"
PROGRESS_S = 0.5


def work(folder: Path) -> None:
    """Does a job, whose folder has `request.json` and `dataset.tar`; leaves `result.json` and perhaps a vector.

    What is wrong with the job is its result, too; only what another attempt might mend is raised.

    Raises:
        OSError: the folder cannot be read or written.
    """
    private_folder(folder)  # this may be a process of its own
    (folder / "lock").touch(0o600)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a worker that was given up may still be at it
        if (folder / RESULT).is_file() or not (folder / REQUEST).is_file():
            return  # it has finished, or the job was cancelled
        try:
            seconds = _unpacked(folder)
            workers = workers_for(seconds)
            if workers > 1:
                learn_together(folder, workers)
            else:
                learn(folder)
        except AsrEdgeError as error:
            if isinstance(error, OSError):
                raise
            result = {"error": str(error).replace(str(folder), "")[:500]}
            write_atomically(folder / RESULT, json.dumps(result).encode())


def _unpacked(folder: Path) -> float:
    """Opens a job's archive, anew if that was begun before; returns how many seconds there are to learn from."""
    shutil.rmtree(folder / OPENED, ignore_errors=True)
    unpacked = unpack(folder / ARCHIVE, folder / OPENED)
    record = {
        "training": [[one.file.name, one.text] for one in unpacked.training],
        "held_out": [[one.file.name, one.text] for one in unpacked.held_out],
    }
    write_atomically(folder / OPENED / INDEX, json.dumps(record).encode())
    return sum(duration_s(one.file) for one in unpacked.training)


def _opened(folder: Path) -> Unpacked:
    """What `_unpacked` left."""
    opened = folder / OPENED
    record = json.loads((opened / INDEX).read_text("utf-8"))
    training, held_out = (
        [Utterance(audio=opened / "audio" / name, text=text) for name, text in record[part]]
        for part in ("training", "held_out")
    )
    return Unpacked(training, held_out, {path.stem: path for path in (opened / "vectors").iterdir()})


def learn(folder: Path) -> None:
    """Learns a job that is unpacked, alone or as one of a group; leaves the vector, and then the result.

    Raises:
        AsrEdgeError: it cannot be tuned.
    """
    from trainer.training.distributed import Group
    from trainer.training.finetuning import finetune_for_training_set
    from trainer.training.loop import Progress
    from trainer.training.settings import FineTuningSettings

    private_folder(folder)  # each of a group has a process of its own
    request = json.loads((folder / REQUEST).read_text("utf-8"))
    settings = {**request["settings"]}
    density = settings.pop("density", 1.0)
    unpacked = _opened(folder)
    bundle = starting_bundle(request, unpacked)
    origin = Origin(
        family=bundle.family, base=request["base"], domain="", utterances=len(unpacked.training), density=density
    )
    is_first = Group().rank == 0
    told = 0.0

    def tell(at: Progress) -> None:
        nonlocal told
        if is_first and (time.monotonic() - told > PROGRESS_S or at.step == at.steps):
            told = time.monotonic()
            record = {"step": at.step, "steps": at.steps, "epoch": at.epoch, "loss": at.loss, "left_s": at.left_s}
            temporary = folder / f"{PROGRESS}.new"  # of no use after a power cut, so it is not synced
            temporary.touch(0o600)
            temporary.write_text(json.dumps(record), "utf-8")
            temporary.replace(folder / PROGRESS)

    training_set = TrainingSet(bundle, unpacked.training, unpacked.held_out, origin)
    tuned = finetune_for_training_set(
        training_set, FineTuningSettings(**settings), checkpoint=folder / CHECKPOINT, on_step=tell
    )
    if not is_first:
        return
    vector = tuned.vector.trimmed(density) if density < 1 else tuned.vector
    vector.save(folder / VECTOR)
    digest, seconds = sha256(folder / VECTOR), round(tuned.seconds, 2)
    result = {"vector": digest, "losses": list(tuned.losses), "seconds": seconds}
    write_atomically(folder / RESULT, json.dumps(result).encode())


@dataclass(frozen=True)
class _Remade(Bundle):
    """A base with a device's edits."""

    remake: Callable[[], Tensors] = field(kw_only=True, repr=False)

    def weights(self) -> Any:
        """As `Bundle.weights`, the edits applied."""
        return self.remake()


def starting_bundle(request: Mapping[str, Any], unpacked: Unpacked) -> Bundle:
    """The device's model: a base that is installed here, with the edits whose vectors came along.

    Raises:
        BadInputError: the base is not here, or a vector is missing.
        WrongBaseError, TaskVectorError: a vector does not fit the base.
    """
    base = find_base(request["base"])
    if base is None:
        raise BadInputError(f"the base {request['base'][:8]} is not installed on this host")
    edits = [Applied(number, **edit) for number, edit in enumerate(request["edits"], 1)]
    missing = {name for edit in edits for name in edit.vectors} - unpacked.vectors.keys()
    if missing:
        raise BadInputError(f"the archive: lacks the task vector {min(missing)[:8]} of an edit")

    def weights() -> Tensors:
        made: Tensors = base.weights()
        shapes = {name: tensor.shape for name, tensor in made.items()}

        def load(name: str) -> TaskVector:
            return TaskVector.load(unpacked.vectors[name], base=base.weights_hash, shapes=shapes, name="the archive")

        for edit in edits:
            try:
                made = with_edit(made, edit, load)
            except BadInputError:
                raise
            except (ValueError, TypeError) as error:
                raise BadInputError(f"edit {edit.edit} cannot be applied: {error}") from error
        return made

    if not edits:
        return base
    return _Remade(**{one.name: getattr(base, one.name) for one in fields(Bundle)}, remake=weights)
