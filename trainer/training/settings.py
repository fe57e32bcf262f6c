"""Settings of a fine-tuning, the default number of epochs, and the learning-rate schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass

from editing.errors import BadInputError, one_line
from editing.ranges import Range

LIMITS = {
    "epochs": Range(1, 10_000, is_whole=True),
    "learning_rate": Range(0, 1),
    "batch_s": Range(0, 3600, excludes_least=True),
    "warm_up": Range(0, 1),
    "clip": Range(0, 1e6, excludes_least=True),
    "curriculum_epochs": Range(0, 10_000, is_whole=True),
    "patience": Range(1, 10_000, is_whole=True),
    "target_loss": Range(0, 1e6),
    "seed": Range(0, 2**32 - 1, is_whole=True),
}


@dataclass(frozen=True)
class FineTuningSettings:
    """How to fine-tune. Checkpoints, job requests and experiment files store these field names.

    Attributes:
        epochs: passes over the training utterances; None for `default_epochs`.
        learning_rate: the peak learning rate of AdamW.
        batch_s: seconds of audio in a batch, padding included.
        warm_up: the fraction of updates during which the learning rate rises.
        clip: gradient clipping: the largest gradient norm; larger gradients are scaled down to it.
        scope: the parameters to train, a key of `trainer.families.SCOPES`.
        embeddings: train the token embeddings too, if the scope includes the decoder ("all" or "decoder").
        augment: augment each utterance in every epoch (speed, noise, time masking), and mask features where the
            family supports it. Off by default: it did not lower the WER of held-out speakers, and the WER of general
            speech rose slightly.
        curriculum_epochs: the number of first epochs in which batches run from short to long, without augmentation.
            Without them, a CTC model with random weights outputs only blanks for hundreds of updates.
        patience: stops after this many epochs in a row with a validation loss that is clearly above the lowest (by
            `trainer.training.early_stopping.CLEARLY_WORSE`, in nats per token).
        target_loss: in nats per token; stops one epoch after the training loss falls below it, because further
            updates only move the weights away from the base.
        seed: for the order of utterances, augmentation and dropout.
    """

    epochs: int | None = None
    learning_rate: float = 1e-4
    batch_s: float = 40.0
    warm_up: float = 0.1
    clip: float = 1.0
    scope: str = "all"
    embeddings: bool = False
    augment: bool = False
    curriculum_epochs: int = 0
    patience: int = 2
    target_loss: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        """
        Raises:
            BadInputError: a setting is out of range, or not a boolean. `scope` is checked where it is used.
        """
        for name, limits in LIMITS.items():
            value = getattr(self, name)
            if value is not None or name != "epochs":
                limits.check(name, value)
        for name in ("embeddings", "augment"):
            if not isinstance(value := getattr(self, name), bool):
                raise BadInputError(f"{name} is {one_line(repr(value), 60)}; expected true or false")


def default_epochs(utterances: int) -> int:
    """Epochs for a number of training utterances: 10 for up to 10, 6 for 50, 4 for 300, 3 for 450 and more.

    A curve through these points, which were found by hand with the embedded model.
    """
    return max(3, min(10, round(10 * (10 / max(1, utterances)) ** 0.28)))


def schedule(step: int, steps: int, warm_up: float) -> float:
    """The learning rate at a step as a fraction of its peak: rises to 1 during warm-up, then falls linearly to 0.

    Args:
        step: the update, counted from 0.
        steps: the number of updates.
        warm_up: the fraction of the updates during which the learning rate rises.
    """
    rising = max(1, math.ceil(warm_up * steps))
    return (step + 1) / rising if step < rising else (steps - step) / max(1, steps - rising)
