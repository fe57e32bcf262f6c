"""When a fine-tuning stops before its last epoch, and which weights it then gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

CLEARLY_WORSE = 0.05  # nats per token


class EarlyStopping:
    """Watches the validation loss, and keeps a copy of the weights with the lowest.

    Small increases are ignored: the weights at the end of the learning-rate schedule give the better task
    vector, and merging adds only a part of it.

    Attributes:
        validation_losses: per token, before the first epoch and after each.
        best: the tensors at the lowest validation loss, by name; empty without validation utterances.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], patience: int) -> None:
        """
        Args:
            tensors: of the model, all that change during training; they are read and restored in place.
            patience: how many epochs in a row must be clearly worse.
        """
        self._tensors, self._patience = tensors, patience
        self.validation_losses: list[float] = []
        self.best: dict[str, torch.Tensor] = {}

    def observe(self, validation_loss: float) -> None:
        """Notes the validation loss of the weights as they are now."""
        self.validation_losses.append(validation_loss)
        if min(self.validation_losses) == validation_loss:
            self.best = {name: tensor.detach().clone() for name, tensor in self._tensors.items()}

    def should_stop(self) -> bool:
        """Whether the last epochs were all clearly worse than the best."""
        before = len(self.validation_losses) - self._patience
        return before > 0 and all(map(self._is_clearly_worse, self.validation_losses[before:]))

    def restore_best(self) -> None:
        """Puts the best weights back where the current ones are clearly worse."""
        if self.validation_losses and self._is_clearly_worse(self.validation_losses[-1]):
            with torch.no_grad():
                for name, tensor in self.best.items():
                    self._tensors[name].copy_(tensor)

    def _is_clearly_worse(self, validation_loss: float) -> bool:
        return validation_loss > min(self.validation_losses) + CLEARLY_WORSE


def last_epoch(training_losses: Sequence[float], target_loss: float) -> int | None:
    """The epoch, counted from 1, with which training ends because the loss reached its target; None while it has not.

    It is the one after the first whose loss is below the target: the learning rate falls to 0 within it.

    Args:
        training_losses: per token, of each epoch so far.
        target_loss: see `FineTuningSettings.target_loss`.
    """
    below = (epoch for epoch, loss in enumerate(training_losses, 1) if loss < target_loss)
    first = next(below, None)
    return None if first is None else first + 1
