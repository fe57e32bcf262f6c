"""Training utterances: the speech in a recording, batches of similar lengths, padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.audio.vad import VoiceActivity, speech_span
from device_app.data.utterance import Utterance
from editing.errors import BadInputError
from trainer.training.augment import augment

PADDING_STEP = SAMPLE_RATE // 2  # few different batch lengths, so that memory which one batch frees fits the next
POOL = 8  # batches whose utterances are sorted by length together
MOST_UTTERANCES = 16  # in a batch: with more, short utterances would give few updates


@dataclass(frozen=True, kw_only=True)
class TrainingUtterance(Utterance):
    """An utterance whose speech is found and whose transcript is tokenised, to train on or to validate with.

    Attributes:
        start, end: samples at 16 kHz, between which the speech is, margins included.
        tokens: of its transcript.
    """

    end: int
    tokens: Sequence[int]

    @property
    def duration_s(self) -> float:
        """Of the speech."""
        return (self.end - self.start) / SAMPLE_RATE

    @classmethod
    def of(cls, utterance: Utterance, start: int, end: int, tokens: Sequence[int]) -> TrainingUtterance:
        """Adds what training needs to an utterance."""
        return cls(**{**utterance.known(), "start": start, "end": end, "tokens": tokens})


def load_examples(labelled: Sequence[Utterance], tokenise: Callable[[str], list[int]]) -> list[TrainingUtterance]:
    """Finds the speech in each recording; leaves out recordings without speech.

    Raises:
        BadAudioError: a recording cannot be read.
        BadInputError: a text is longer than the model can write.
    """
    voice = VoiceActivity()
    examples = []
    for one in labelled:
        span = speech_span(one.read(), voice)
        if span is not None:
            start, end = (one.start + sample for sample in span)
            try:
                examples.append(TrainingUtterance.of(one, start, end, tokenise(one.transcript)))
            except BadInputError as error:
                raise BadInputError(f"{one.audio}: {error}") from error
    return examples


def batches(
    examples: Sequence[TrainingUtterance], seconds: float, random: np.random.Generator | None = None
) -> list[list[TrainingUtterance]]:
    """Groups utterances of about the same length into batches of at most `seconds`, padding included.

    Args:
        examples: to be grouped; one longer than `seconds` is a batch of its own.
        seconds: of audio in a batch.
        random: shuffles utterances, then batches; None sorts them by length.
    """
    order = list(examples) if random is None else [examples[i] for i in random.permutation(len(examples))]
    typical = max(1.0, float(np.median([example.duration_s for example in examples])))
    pool = len(order) if random is None else POOL * max(1, min(MOST_UTTERANCES, round(seconds / typical)))
    groups: list[list[TrainingUtterance]] = []
    for start in range(0, len(order), pool):
        group: list[TrainingUtterance] = []
        for example in sorted(order[start : start + pool], key=lambda one: one.duration_s):
            if group and (example.duration_s * (len(group) + 1) > seconds or len(group) == MOST_UTTERANCES):
                groups.append(group)
                group = []
            group.append(example)
        groups.append(group)
    return groups if random is None else [groups[i] for i in random.permutation(len(groups))]


def padded(
    batch: Sequence[TrainingUtterance], augmentation: np.random.Generator | None = None
) -> tuple[Samples, list[int]]:
    """Reads the audio of a batch, (batch, samples) with zeros after the end of each, and the lengths in samples.

    Args:
        batch: the utterances.
        augmentation: augments each of them with these random numbers; None leaves them as they are.

    Raises:
        BadAudioError: a file cannot be read.
    """
    audio = [example.read() for example in batch]
    if augmentation is not None:
        audio = [augment(one, augmentation) for one in audio]
    return stacked(audio, PADDING_STEP)


def stacked(audio: Sequence[Samples], step: int = 1) -> tuple[Samples, list[int]]:
    """Pads utterances to one length, a multiple of `step`: (utterances, samples) and the lengths in samples."""
    lengths = [len(one) for one in audio]
    together = np.zeros((len(audio), -(-max(lengths) // step) * step), np.float32)
    for row, one in zip(together, audio, strict=True):
        row[: len(one)] = one
    return together, lengths
