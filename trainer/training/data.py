"""Training utterances: voice activity detection, batches of similar lengths, padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.audio.vad import VoiceActivity, speech_span
from device_app.data.utterance import Utterance
from editing.errors import BadInputError
from trainer.training.augment import augment

# Samples, to a multiple of which batches are padded. So there are few different lengths, and freed memory fits the next
# batch.
PADDING_STEP = SAMPLE_RATE // 2
POOL = 8  # batches whose utterances are sorted by length together
MAX_UTTERANCES = 16  # in a batch: with more, short utterances would give few updates


@dataclass(frozen=True, kw_only=True)
class TrainingUtterance(Utterance):
    """A segmented and tokenised utterance for training or validation.

    Attributes:
        start, end: the bounds of the speech in samples at 16 kHz, margins included.
        tokens: the tokens of the transcript.
    """

    end: int
    tokens: Sequence[int]

    @property
    def duration_s(self) -> float:
        """The duration of the speech."""
        return (self.end - self.start) / SAMPLE_RATE

    @classmethod
    def of(cls, utterance: Utterance, start: int, end: int, tokens: Sequence[int]) -> TrainingUtterance:
        """Adds speech bounds and tokens to an utterance."""
        return cls(**{**utterance.base_fields(), "start": start, "end": end, "tokens": tokens})


def load_examples(labelled: Sequence[Utterance], tokenise: Callable[[str], list[int]]) -> list[TrainingUtterance]:
    """Finds the speech in each recording; leaves out recordings without speech.

    Raises:
        BadAudioError: a recording cannot be read.
        BadInputError: a transcript has more tokens than the model can output, or characters that it cannot output.
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
    """Groups utterances of similar length into batches of at most `seconds`, padding included.

    Args:
        examples: at least one utterance; one longer than `seconds` forms its own batch.
        seconds: the most seconds of audio in a batch.
        random: shuffles utterances, then batches; None sorts the utterances by length instead.
    """
    order = list(examples) if random is None else [examples[i] for i in random.permutation(len(examples))]
    typical = max(1.0, float(np.median([example.duration_s for example in examples])))
    pool = len(order) if random is None else POOL * max(1, min(MAX_UTTERANCES, round(seconds / typical)))
    groups: list[list[TrainingUtterance]] = []
    for start in range(0, len(order), pool):
        group: list[TrainingUtterance] = []
        for example in sorted(order[start : start + pool], key=lambda one: one.duration_s):
            if group and (example.duration_s * (len(group) + 1) > seconds or len(group) == MAX_UTTERANCES):
                groups.append(group)
                group = []
            group.append(example)
        groups.append(group)
    return groups if random is None else [groups[i] for i in random.permutation(len(groups))]


def padded(
    batch: Sequence[TrainingUtterance], augmentation: np.random.Generator | None = None
) -> tuple[Samples, list[int]]:
    """Reads the audio of a batch: (batch, samples), padded with zeros, and the lengths in samples.

    Args:
        batch: the utterances.
        augmentation: random numbers for augmentation; None disables it.

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
