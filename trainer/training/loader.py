"""Plans the updates of a fine-tuning and reads their audio, ahead of time for a GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from device_app.audio.samples import Samples
from trainer.training.data import TrainingUtterance, batches, padded
from trainer.training.distributed import Group
from trainer.training.settings import FineTuningSettings, default_epochs

MICROBATCH_S = 20.0  # of audio computed at once; an update accumulates the gradients of its microbatches
# Batches are read ahead only for a GPU, where an update takes less time than reading its batch. On the CPU, reading
# ahead made an update 6 % slower.
READ_AHEAD = 4


@dataclass(frozen=True)
class Update:
    """One step of the optimizer.

    Attributes:
        step: the number of the update, from 0.
        epoch: from 1.
        examples: the batch of all processes together.
        ends_epoch: whether this is the last update of its epoch.
    """

    step: int
    epoch: int
    examples: Sequence[TrainingUtterance]
    ends_epoch: bool

    @property
    def seconds(self) -> float:
        """Seconds of speech in the batch."""
        return sum(example.duration_s for example in self.examples)


def plan_updates(training: Sequence[TrainingUtterance], settings: FineTuningSettings) -> list[Update]:
    """All updates of a run, in order; deterministic for the same arguments."""
    updates: list[Update] = []
    for epoch in range(1, (settings.epochs or default_epochs(len(training))) + 1):
        groups = batches(training, settings.batch_s, np.random.default_rng((settings.seed, epoch - 1)))
        if epoch <= settings.curriculum_epochs:
            groups.sort(key=lambda group: max(example.duration_s for example in group))
        for index, group in enumerate(groups, 1):
            updates.append(Update(len(updates), epoch, group, ends_epoch=index == len(groups)))
    return updates


@dataclass(frozen=True)
class Microbatch:
    """A part of a batch that is computed at once.

    Attributes:
        audio: (utterances, samples).
        lengths: in samples, of each utterance.
        tokens: the tokens of each transcript.
        is_augmented: whether the audio is augmented and the model should mask its features.
    """

    audio: Samples
    lengths: Sequence[int]
    tokens: Sequence[Sequence[int]]
    is_augmented: bool

    @classmethod
    def read(cls, examples: Sequence[TrainingUtterance], augmentation: np.random.Generator | None = None) -> Microbatch:
        """Reads the recordings, and augments them if `augmentation` is given.

        Raises:
            BadAudioError: a file cannot be read.
        """
        audio, lengths = padded(examples, augmentation)
        return cls(audio, lengths, [example.tokens for example in examples], augmentation is not None)


class Loader:
    """Reads this process's share of each batch as microbatches."""

    def __init__(self, settings: FineTuningSettings, group: Group, device: str, *, whole_batches: bool) -> None:
        """
        Args:
            settings: the settings of the fine-tuning.
            group: the processes that train together.
            device: "cpu" or "cuda".
            whole_batches: never split a batch, because batch norms need all of it.
        """
        self._settings, self._group = settings, group
        # On a GPU, a microbatch takes as long as a batch, because most of the time is kernel launches; 40 s of audio
        # need 0.7 GB there.
        self._splits = not whole_batches and device != "cuda"
        self._ahead = READ_AHEAD if device == "cuda" else 0

    def read_all(self, updates: Sequence[Update]) -> Generator[Sequence[Microbatch]]:
        """Yields the microbatches of each update; for a GPU, reads the next ones in the background.

        Raises:
            BadAudioError: a file cannot be read.
        """
        waiting: deque[Future[Sequence[Microbatch]]] = deque()
        with ThreadPoolExecutor(READ_AHEAD) as pool:
            for update in updates:
                waiting.append(pool.submit(self._read, update))
                if len(waiting) > self._ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _read(self, update: Update) -> Sequence[Microbatch]:
        is_augmented = self._settings.augment and update.epoch > self._settings.curriculum_epochs
        seed = self._group.own_seed(self._settings.seed)
        augmentation = np.random.default_rng((seed, 1 + update.step, 1)) if is_augmented else None
        share = update.examples[self._group.rank :: self._group.size]
        return [Microbatch.read(part, augmentation) for part in self._parts(share)]

    def _parts(self, share: Sequence[TrainingUtterance]) -> Sequence[Sequence[TrainingUtterance]]:
        if not share:  # fewer utterances than processes
            return []
        return batches(share, MICROBATCH_S) if self._splits else [share]
