"""Fine-tuning from recordings and transcripts, for the commands and the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_app.adaptation.training_set import FineTuningResult, TrainingSet
from device_app.data.utterance import Utterance
from device_app.models.edited_bundle import EditedBundle
from editing.errors import BadInputError
from editing.task_vector import TaskVector
from export.bundle import Bundle
from trainer import families
from trainer.training.data import TrainingUtterance, load_examples
from trainer.training.distillation import load_distillation_set
from trainer.training.loop import FineTuned, Progress, finetune
from trainer.training.memory import return_freed_memory
from trainer.training.settings import FineTuningSettings


def finetune_for_training_set(
    training_set: TrainingSet,
    settings: FineTuningSettings,
    *,
    checkpoint: Path | None = None,
    on_step: Callable[[Progress], None] = lambda _progress: None,
) -> FineTuningResult:
    """Fine-tunes on a device's training set and computes the task vector.

    Distillation keeps the outputs of the base on general speech, not those of the version to start from: what each
    edit costs other speakers would add up.

    Returns:
        The task vector, rounded to its stored precision, and the training losses.

    Raises:
        BadInputError, BadAudioError, TrainingError, StorageError: as for `finetune_on_recordings`.
        TaskVectorError: the fine-tuned weights are not finite.
    """
    bundle = training_set.bundle
    weights = bundle.weights()
    tuned = finetune_on_recordings(
        bundle,
        weights,
        training_set.training,
        training_set.held_out,
        settings,
        checkpoint=checkpoint,
        on_step=on_step,
        distillation_set=load_distillation_set(bundle),
        teacher=bundle.base_weights if isinstance(bundle, EditedBundle) else None,
    )
    return_freed_memory()  # the model's and the optimizer's
    vector = TaskVector.difference(tuned.weights, weights, training_set.origin).as_stored()
    return FineTuningResult(vector, tuned.training_losses, tuned.seconds)


def finetune_on_recordings(
    bundle: Bundle,
    weights: Mapping[str, NDArray[np.float32]],
    training: Sequence[Utterance],
    held_out: Sequence[Utterance],
    settings: FineTuningSettings,
    *,
    checkpoint: Path | None = None,
    on_step: Callable[[Progress], None] = lambda _progress: None,
    distillation_set: Sequence[TrainingUtterance] = (),
    teacher: Callable[[], Mapping[str, NDArray[np.float32]]] | None = None,
) -> FineTuned:
    """Segments the recordings, tokenises their transcripts, and calls `trainer.training.loop.finetune`.

    Raises:
        BadInputError: no training recording has speech, a transcript has more tokens than the model can output or
            characters that it cannot output, or as for `finetune`.
        BadAudioError, TrainingError, StorageError: as for `finetune`.
    """
    tokenise = families.find(bundle).tokenise(bundle)
    training_examples, validation_examples = load_examples(training, tokenise), load_examples(held_out, tokenise)
    if not training_examples:
        raise BadInputError("the training recordings have no speech")
    return finetune(
        bundle,
        weights,
        training_examples,
        validation_examples,
        settings,
        checkpoint=checkpoint,
        on_step=on_step,
        distillation_set=distillation_set,
        teacher=teacher,
    )
