"""Fine-tunes for an unpacked job, in one process or in a group of processes that share the job's folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_app.adaptation.training_set import TrainingSet
from device_app.models.bundles import find_base
from device_app.models.edited_bundle import edited_bundle
from device_app.models.ledger_record import Applied
from device_app.remote.archive import ArchiveContents
from editing.errors import BadInputError
from editing.files import sha256
from editing.privacy import private_folder
from editing.task_vector import Origin, TaskVector
from export.bundle import Bundle
from trainer.host.job_folder import JobFolder

if TYPE_CHECKING:
    from trainer.training.loop import Progress

PROGRESS_S = 0.5  # between two writes of the progress


def finetune_job(folder: Path) -> None:
    """Fine-tunes for an unpacked job; writes the task vector, then the result.

    In a group of processes, each process calls this with the same folder, and rank 0 writes.

    Raises:
        AsrEdgeError: the vectors do not fit the base, or the fine-tuning fails.
    """
    from trainer.training.distributed import Group  # imports torch, which the host's process does not need
    from trainer.training.finetuning import finetune_for_training_set
    from trainer.training.settings import FineTuningSettings

    private_folder(folder)  # in a new process too, which does not know that the folder is private
    job = JobFolder(folder)
    request = job.read_request()
    settings = {**request["settings"]}
    density = settings.pop("density", 1.0)
    unpacked = job.unpacked()
    bundle = starting_bundle(request, unpacked)
    origin = Origin(
        family=bundle.family, base=request["base"], domain="", utterances=len(unpacked.training), density=density
    )
    is_first = Group().rank == 0
    result = finetune_for_training_set(
        TrainingSet(bundle, unpacked.training, unpacked.held_out, origin),
        FineTuningSettings(**settings),
        checkpoint=job.checkpoint,
        on_step=_progress_writer(job) if is_first else _ignore,
    )
    if not is_first:
        return
    vector = result.vector.trimmed(density) if density < 1 else result.vector
    vector.save(job.vector)
    job.write_result(sha256(job.vector), result.losses, round(result.seconds, 2))


def _progress_writer(job: JobFolder) -> Callable[[Progress], None]:
    """Returns a function that writes the progress every `PROGRESS_S`, and at the last step."""
    written_at = -PROGRESS_S

    def write(at: Progress) -> None:
        nonlocal written_at
        if time.monotonic() - written_at > PROGRESS_S or at.step == at.steps:
            written_at = time.monotonic()
            job.write_progress(
                {"step": at.step, "steps": at.steps, "epoch": at.epoch, "loss": at.loss, "left_s": at.left_s}
            )

    return write


def _ignore(_progress: Progress) -> None:
    """Does nothing: rank 0 writes the progress for the group."""


@dataclass(frozen=True)
class _ArchivedVectors:
    """The task vectors in a job's archive; each is checked against the base before it is loaded."""

    base: Bundle
    files: Mapping[str, Path]

    def vector_path(self, digest: str) -> Path:
        return self.files[digest]

    def vector(self, digest: str) -> TaskVector:
        path = self.vector_path(digest)
        return TaskVector.load(path, base=self.base.weights_hash, shapes=self.base.shapes(), name="the archive")

    def cannot_apply(self, applied: Applied, reason: str) -> BadInputError:
        return BadInputError(f"edit {applied.edit} cannot be applied: {reason}")


def starting_bundle(request: Mapping[str, Any], unpacked: ArchiveContents) -> Bundle:
    """The device's model: a base that is installed here, with the edits whose vectors are in the archive.

    Its `weights` method raises WrongBaseError or TaskVectorError if a vector does not fit the base.

    Raises:
        BadInputError: the base is not installed here, or a vector is missing.
    """
    base = find_base(request["base"])
    if base is None:
        raise BadInputError(f"the base {request['base'][:8]} is not installed on this host")
    edits = [Applied(number, **edit) for number, edit in enumerate(request["edits"], 1)]
    missing = {name for edit in edits for name in edit.vectors} - unpacked.vectors.keys()
    if missing:
        raise BadInputError(f"the archive lacks the task vector {min(missing)[:8]} of an edit")
    return edited_bundle(base, edits, _ArchivedVectors(base, unpacked.vectors))
