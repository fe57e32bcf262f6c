"""Early stopping: when a fine-tuning stops, and which weights it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

CLEARLY_WORSE = 0.05  # nats per token above the lowest validation loss; for the reason see `EarlyStopping`


class EarlyStopping:
    """Tracks the validation loss and keeps a copy of the best weights.

    Small increases are ignored: the weights at the end of the learning-rate schedule give the better task
    vector, and merging adds only a part of it.

    Attributes:
        validation_losses: per token, before the first epoch and after each.
        best: the tensors at the lowest validation loss, by name; empty without validation utterances.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], patience: int) -> None:
        """
        Args:
            tensors: the model's tensors that change during training; read and restored in place.
            patience: stops after this many consecutive epochs that are clearly worse.
        """
        self._tensors, self._patience = tensors, patience
        self.validation_losses: list[float] = []
        self.best: dict[str, torch.Tensor] = {}

    def observe(self, validation_loss: float) -> None:
        """Records the validation loss of the current weights."""
        self.validation_losses.append(validation_loss)
        if min(self.validation_losses) == validation_loss:
            self.best = {name: tensor.detach().clone() for name, tensor in self._tensors.items()}

    def should_stop(self) -> bool:
        """Whether the last `patience` epochs were all clearly worse than the best."""
        before = len(self.validation_losses) - self._patience
        return before > 0 and all(map(self._is_clearly_worse, self.validation_losses[before:]))

    def restore_best(self) -> None:
        """Restores the best weights if the current ones are clearly worse."""
        if self.validation_losses and self._is_clearly_worse(self.validation_losses[-1]):
            with torch.no_grad():
                for name, tensor in self.best.items():
                    self._tensors[name].copy_(tensor)

    def _is_clearly_worse(self, validation_loss: float) -> bool:
        return validation_loss > min(self.validation_losses) + CLEARLY_WORSE


def last_epoch(training_losses: Sequence[float], target_loss: float) -> int | None:
    """The last epoch to train, counted from 1, once the loss has fallen below its target; None before that.

    This is the epoch after the first one below the target. The learning rate decays to 0 during it.

    Args:
        training_losses: the loss per token of each epoch so far.
        target_loss: see `FineTuningSettings.target_loss`.
    """
    below = (epoch for epoch, loss in enumerate(training_losses, 1) if loss < target_loss)
    first = next(below, None)
    return None if first is None else first + 1
