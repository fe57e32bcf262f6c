"""Fine-tuning on this machine: the only module of `device_app` that imports the trainer, inside a function."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from device_app.adaptation.training_set import FineTune, FineTuningResult, TrainingSet
from device_app.adaptation_notes import checkpoint_folder, note_started
from device_app.recognition.onnx_session import default_threads
from device_app.reporter import Reporter
from editing.errors import MissingDependencyError, counted

# Seconds of one core for each second of training speech in each epoch, with the distillation: the embedded model on an
# EPYC without bfloat16, from earlier measurements with less distillation. With bfloat16, it takes half as long.
CORE_SECONDS = 0.12


def need_torch() -> None:
    """Checks that the dependencies of training are installed.

    Raises:
        MissingDependencyError: torch or transformers is not installed; the message names the extra to install.
    """
    try:
        is_installed = all(importlib.util.find_spec(name) is not None for name in ("torch", "transformers"))
    except ImportError:  # an import hook forbids it, as in our tests
        is_installed = False
    if not is_installed:
        raise MissingDependencyError(
            "fine-tuning needs torch, which is not installed: pip install 'asr-edge[train]'. Without it, a host can "
            "fine-tune (--on URL), or you can merge vectors from another machine: asr-edge vector import FILE"
        )


def local_finetuning(settings: Mapping[str, Any], reporter: Reporter) -> FineTune:
    """Returns a function that fine-tunes on this machine; an interrupted fine-tuning continues from its checkpoint.

    Args:
        settings: fields of `trainer.training.settings.FineTuningSettings`.
        reporter: receives progress and messages.
    """

    def finetune(training_set: TrainingSet) -> FineTuningResult:
        from trainer.training.finetuning import finetune_for_training_set
        from trainer.training.settings import FineTuningSettings, default_epochs

        given = FineTuningSettings(**settings)
        minutes = _expected_minutes(training_set, given.epochs or default_epochs(len(training_set.training)))
        utterances = counted(len(training_set.training), "utterance")
        reporter.report(f"Fine-tuning on {utterances}, {minutes} without a GPU ...")
        note_started(training_set.origin.domain)
        with reporter.finetuning() as show:
            return finetune_for_training_set(
                training_set,
                given,
                checkpoint=_checkpoint(training_set),
                on_step=lambda at: show(at.step, at.steps, at.epoch, at.loss),
            )

    return finetune


def _expected_minutes(training_set: TrainingSet, epochs: int) -> str:
    """How long the epochs take on this machine's cores, in words."""
    minutes = round(CORE_SECONDS * training_set.origin.seconds * epochs / default_threads() / 60)
    return "a minute or less" if minutes <= 1 else f"about {minutes} minutes"


def remove_checkpoints() -> None:
    """Removes the checkpoints of fine-tunings on this machine; call it once the edit is in the ledger."""
    for path in checkpoint_folder().glob("*"):
        path.unlink()


def _checkpoint(training_set: TrainingSet) -> Path:
    """The path of the checkpoint for this model and these utterances."""
    utterances = [(one.file.name, one.text) for one in (*training_set.training, *training_set.held_out)]
    content = json.dumps([training_set.bundle.bake_inputs, utterances])
    return checkpoint_folder() / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.safetensors"
