"""Labelled recordings -> batches of audio and tokens, by seconds, lengths alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device_app.adaptation.training_set import Labelled
from device_app.audio.samples import SAMPLE_RATE, Samples, in_noise, read
from device_app.audio.vad import VoiceActivity, speech_span
from editing.errors import BadInputError

STEP = SAMPLE_RATE // 2  # batches of few different lengths: memory that one leaves fits the next
POOL = 8  # batches whose utterances are sorted by length together
MOST_UTTERANCES = 16  # in a batch: many short ones would make few updates


@dataclass(frozen=True)
class Example:
    """One utterance to learn from.

    Attributes:
        audio: its file.
        start, end: samples at 16 kHz between which there is speech, with its margins.
        tokens: what is said.
    """

    audio: Path
    start: int
    end: int
    tokens: Sequence[int]

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / SAMPLE_RATE

    def read(self) -> Samples:
        """(samples,) at 16 kHz.

        Raises:
            BadAudioError: the file cannot be read.
        """
        return read(self.audio)[self.start : self.end]


def load_examples(labelled: Sequence[Labelled], tokenise: Callable[[str], list[int]]) -> list[Example]:
    """Finds where speech is in each recording; those in which there is none are left out.

    Raises:
        BadAudioError: a recording cannot be read.
        BadInputError: a text is longer than the model can write.
    """
    voice = VoiceActivity()
    examples = []
    for one in labelled:
        span = speech_span(read(one.audio), voice)
        if span is not None:
            try:
                examples.append(Example(one.audio, *span, tokenise(one.text)))
            except BadInputError as error:
                raise BadInputError(f"{one.audio}: {error}") from error
    return examples


def batches(
    examples: Sequence[Example], seconds: float, random: np.random.Generator | None = None
) -> list[list[Example]]:
    """Groups utterances of about the same length so that none exceeds `seconds`, padding included.

    Args:
        examples: to be grouped; a longer one is a batch of its own.
        seconds: of audio in a batch.
        random: shuffles utterances, then batches; None for by length.
    """
    order = list(examples) if random is None else [examples[i] for i in random.permutation(len(examples))]
    typical = max(1.0, float(np.median([example.seconds for example in examples])))
    pool = len(order) if random is None else POOL * max(1, min(MOST_UTTERANCES, round(seconds / typical)))
    groups: list[list[Example]] = []
    for start in range(0, len(order), pool):
        group: list[Example] = []
        for example in sorted(order[start : start + pool], key=lambda one: one.seconds):
            if group and (example.seconds * (len(group) + 1) > seconds or len(group) == MOST_UTTERANCES):
                groups.append(group)
                group = []
            group.append(example)
        groups.append(group)
    return groups if random is None else [groups[i] for i in random.permutation(len(groups))]


Change = Callable[[Samples, np.random.Generator], Samples]


def padded(batch: Sequence[Example], change: Change | None, random: np.random.Generator) -> tuple[Samples, list[int]]:
    """The audio of a batch, (batch, samples) with zeros after each one's end, and its lengths in samples."""
    audio = [example.read() for example in batch]
    if change is not None:
        audio = [change(one, random) for one in audio]
    return stacked(audio, STEP)


def stacked(audio: Sequence[Samples], step: int = 1) -> tuple[Samples, list[int]]:
    """(utterances, samples), a multiple of `step` long, with zeros after each one's end; and the lengths in samples."""
    lengths = [len(one) for one in audio]
    together = np.zeros((len(audio), -(-max(lengths) // step) * step), np.float32)
    for row, one in zip(together, audio, strict=True):
        row[: len(one)] = one
    return together, lengths


def varied(audio: Samples, random: np.random.Generator) -> Samples:
    """A recording as it might have been: a little faster or slower, in noise, with moments missing.

    Speed perturbation by a factor of 0.9 to 1.1 (Ko et al. 2015), white noise 15 to 40 dB below
    the speech, and up to two spans of at most 0.1 s of silence (time masking, as in SpecAugment).
    """
    import soxr

    speed = random.uniform(0.9, 1.1)
    audio = soxr.resample(audio, SAMPLE_RATE * speed, SAMPLE_RATE).astype(np.float32)
    noise = random.standard_normal(len(audio), np.float32)
    audio = in_noise(audio, noise, random.uniform(15, 40))
    for _ in range(random.integers(3)):
        start = random.integers(len(audio))
        audio[start : start + int(random.integers(SAMPLE_RATE // 10))] = 0
    return audio
