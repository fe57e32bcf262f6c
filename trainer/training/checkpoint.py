"""Checkpoints of a fine-tuning, from which a killed run resumes: one safetensors file, without pickle.

Tensors: "weight/NAME" for each tensor that training changes; "step/NAME", "exp_avg/NAME" and "exp_avg_sq/NAME" of the
optimizer; "best/NAME" of the best weights. Metadata: "run", a JSON record of counters, losses and settings.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from editing.files import write_atomically
from editing.former_names import CHECKPOINT, translated
from editing.json_text import parse_json
from trainer.training.early_stopping import EarlyStopping
from trainer.training.model import TrainableModel
from trainer.training.settings import FineTuningSettings

CHECKPOINT_S = 60.0  # between two checkpoints; the embedded model's is a third of a GB
OPTIMIZER_STATE = ("step", "exp_avg", "exp_avg_sq")  # AdamW's, of each parameter


@dataclass
class TrainingState:
    """The progress of a run.

    Attributes:
        step: updates done.
        seconds: training time, summed over interruptions.
        audio_s: seconds of speech in all updates so far.
        training_losses: per token, of each finished epoch.
        epoch_loss, epoch_tokens: sums over the current epoch.
    """

    step: int = 0
    seconds: float = 0.0
    audio_s: float = 0.0
    training_losses: list[float] = field(default_factory=list)
    epoch_loss: float = 0.0
    epoch_tokens: float = 0.0

    def add(self, loss: float, tokens: int, audio_s: float) -> None:
        """Adds an update: the summed loss, number of tokens and seconds of speech of its batch."""
        self.step += 1
        self.audio_s += audio_s
        self.epoch_loss += loss
        self.epoch_tokens += tokens

    def end_epoch(self) -> None:
        self.training_losses.append(self.epoch_loss / self.epoch_tokens)
        self.epoch_loss = self.epoch_tokens = 0.0


class Checkpoint:
    """The checkpoint file of one run."""

    def __init__(
        self,
        path: Path,
        settings: FineTuningSettings,
        model: TrainableModel,
        optimizer: torch.optim.Optimizer,
        stopping: EarlyStopping,
    ) -> None:
        """
        Args:
            path: the file; it need not exist.
            settings: a checkpoint with other settings is ignored.
            model: its changing tensors are stored and restored.
            optimizer: AdamW over `model.trained`; its state is stored and restored.
            stopping: its losses and best weights are stored and restored.
        """
        self._path, self._settings = path, settings
        self._model, self._optimizer, self._stopping = model, optimizer, stopping
        self._written_at = time.monotonic()

    def write_if_due(self, state: TrainingState) -> None:
        """Writes the file if this run's last checkpoint, or its start, is longer ago than `CHECKPOINT_S`.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        if time.monotonic() - self._written_at > CHECKPOINT_S:
            self._write(state)
            self._written_at = time.monotonic()

    def _write(self, state: TrainingState) -> None:
        tensors = {f"weight/{name}": tensor.detach() for name, tensor in self._model.changing.items()}
        for name, parameter in self._model.trained.items():
            tensors |= {f"{key}/{name}": self._optimizer.state[parameter][key] for key in OPTIMIZER_STATE}
        tensors |= {f"best/{name}": tensor for name, tensor in self._stopping.best.items()}
        record = {
            "step": state.step,
            "done_s": state.seconds,
            "audio_s": state.audio_s,
            "losses": state.training_losses,
            "sums": [state.epoch_loss, state.epoch_tokens],
            "validation_losses": self._stopping.validation_losses,
            "settings": asdict(self._settings),
        }
        contiguous = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        write_atomically(self._path, save(contiguous, metadata={"run": json.dumps(record)}))

    def resume(self) -> TrainingState:
        """Restores weights, optimizer and early stopping in place; returns the state of the interrupted run.

        If the file is missing, damaged or has other settings, returns a new state and restores nothing.
        """
        if not self._path.is_file():
            return TrainingState()
        try:
            with safe_open(self._path, framework="pt", device=self._model.device) as file:
                record: dict[str, Any] = translated(parse_json(file.metadata()["run"]), CHECKPOINT)
                if record["settings"] != asdict(self._settings):
                    return TrainingState()
                stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            weights = {name: stored[f"weight/{name}"] for name in self._model.changing}
            optimizer_states = {
                name: {key: stored[f"{key}/{name}"] for key in OPTIMIZER_STATE} for name in self._model.trained
            }
            state = TrainingState(
                record["step"], record["done_s"], record["audio_s"], record["losses"], *record["sums"]
            )
            validation_losses = record["validation_losses"]
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            return TrainingState()
        with torch.no_grad():
            for name, weight in weights.items():
                self._model.changing[name].copy_(weight)
        for name, optimizer_state in optimizer_states.items():
            self._optimizer.state[self._model.trained[name]] = optimizer_state
        self._stopping.validation_losses = validation_losses
        self._stopping.best = {
            key.removeprefix("best/"): tensor for key, tensor in stored.items() if key.startswith("best/")
        }
        return state
