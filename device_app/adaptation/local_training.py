"""Fine-tuning on this machine: the only module of `device_app` that imports the trainer, inside a function."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from device_app.adaptation.training_set import FineTuningResult, TrainingSet
from device_app.adaptation_notes import TrainingRun, version_mark
from device_app.data.utterance import StoredUtterance
from device_app.models.bundles import embedded_bundle
from device_app.recognition.onnx_session import default_threads
from device_app.reporter import Reporter
from editing.errors import counted

# Core-seconds per second of training speech and epoch; embedded model, no bfloat16 (with it, half as many); measured
# with a smaller distillation set.
CORE_SECONDS_PER_SPEECH_SECOND = 0.12
WITHOUT_TORCH = (
    "Without it, a host can fine-tune (--on URL), or you can merge vectors from another machine: "
    "asr-edge vector import FILE"
)


class LocalFineTuning:
    """Fine-tunes on this machine, as a `FineTune`; an interrupted fine-tuning continues from its checkpoint."""

    def __init__(self, settings: Mapping[str, Any], reporter: Reporter) -> None:
        """
        Args:
            settings: fields of `trainer.training.settings.FineTuningSettings`.
            reporter: receives progress and messages.
        """
        self._settings, self._reporter = settings, reporter
        self._run: TrainingRun | None = None

    def __call__(self, training_set: TrainingSet) -> FineTuningResult:
        """Fine-tunes. Call it inside `ledger.changing()`, which excludes another fine-tuning of the same base model.

        Raises:
            BadInputError: a setting is out of range or the scope unknown, or no recording has speech.
            BadAudioError: a recording cannot be read.
            TrainingError: the loss is not finite, or memory ran out.
            TaskVectorError: the fine-tuned weights are not finite.
            StorageError: a checkpoint cannot be written.
        """
        from trainer.training.finetuning import finetune_for_training_set
        from trainer.training.settings import FineTuningSettings, default_epochs

        given = FineTuningSettings(**self._settings)
        epochs = given.epochs or default_epochs(len(training_set.training))
        utterances = counted(len(training_set.training), "utterance")
        self._reporter.report(f"Fine-tuning on {utterances}{expected_duration_text(training_set, epochs)} ...")
        self._run = training_run(training_set)
        self._run.begin()
        with self._reporter.finetuning() as show:
            return finetune_for_training_set(
                training_set,
                given,
                checkpoint=self._run.checkpoint,
                on_step=lambda at: show(at.step, at.steps, at.epoch, at.loss),
            )

    def remove_checkpoint(self) -> None:
        """Removes the checkpoint. Call it when the adaptation has ended, whatever its outcome."""
        if self._run is not None:
            self._run.end()


def expected_duration_text(training_set: TrainingSet, epochs: int) -> str:
    """How long the epochs take on this machine's cores, as a clause; empty for a model that was not measured.

    Args:
        training_set: utterances of the store; those that are replayed count too.
        epochs: passes over all of them.
    """
    speech_s = sum(one.duration_s for one in training_set.training if isinstance(one, StoredUtterance))
    minutes = _expected_minutes(training_set.origin.base, speech_s, epochs)
    if minutes is None:
        return ""
    duration = "a minute or less" if minutes <= 1 else f"about {minutes} minutes"
    return f", {duration} without a GPU, longer if this computer is busy"


def expected_minutes(base: str, training: Sequence[StoredUtterance]) -> int | None:
    """Minutes that a fine-tuning with the default settings takes on this machine's cores, rounded.

    Args:
        base: the hash of the base model's weights.
        training: the utterances to train on.

    Returns:
        None for a model that was not measured.
    """
    from trainer.training.settings import default_epochs

    return _expected_minutes(base, sum(one.duration_s for one in training), default_epochs(len(training)))


def _expected_minutes(base: str, speech_s: float, epochs: int) -> int | None:
    if base != embedded_bundle().weights_hash:
        return None
    return round(CORE_SECONDS_PER_SPEECH_SECOND * speech_s * epochs / default_threads() / 60)


def training_run(training_set: TrainingSet) -> TrainingRun:
    """The run for this version of the model and these utterances with these texts; its name differs for all others."""
    bundle, origin = training_set.bundle, training_set.origin
    utterances = [(one.file.name, one.text) for one in (*training_set.training, *training_set.held_out)]
    content = json.dumps([bundle.bake_inputs, utterances])
    name = hashlib.sha256(content.encode()).hexdigest()[:16]
    return TrainingRun(name, origin.domain, origin.base, version_mark(bundle))
