"""Results of recognition: words with times and confidence, segments of a transcript, updates of a stream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from device_app.audio.samples import Samples
from device_app.audio.vad import Segment


@dataclass(frozen=True)
class Word:
    """One recognised word.

    Attributes:
        text: the word with its punctuation.
        start_s, end_s: seconds from the start of the audio.
        confidence: 0 to 1, the geometric mean of the probabilities of its tokens.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float

    def shifted(self, seconds: float) -> Word:
        """Returns the word with its times shifted."""
        return replace(self, start_s=self.start_s + seconds, end_s=self.end_s + seconds)


@dataclass(frozen=True)
class Piece:
    """A token of a CTC path, the frames it spans (`end` is exclusive) and its mean log-probability in them, in nats."""

    token: int
    start: int
    end: int
    log_probability: float


@dataclass(frozen=True)
class TermMatch:
    """A keyterm in a text.

    Attributes:
        term: its `Term.key`, which is in lower case.
        is_helped: whether the text would lack it without keyterms.
    """

    term: str
    is_helped: bool


@dataclass(frozen=True)
class Recognition:
    """The result of a model family for one segment of speech.

    Attributes:
        text: as the model writes it; empty if no word was recognised.
        words: the words of the text, with times from the start of the segment.
        terms: the keyterms in the text, in order.
    """

    text: str
    words: Sequence[Word]
    terms: Sequence[TermMatch] = ()

    def followed_by(self, other: Recognition, start_s: float) -> Recognition:
        """Concatenates two recognitions; `start_s` is the start of `other` in seconds from the start of this one."""
        text = f"{self.text} {other.text}".strip()
        words = [*self.words, *(word.shifted(start_s) for word in other.words)]
        return Recognition(text, words, [*self.terms, *other.terms])

    def within(self, shift_s: float, duration_s: float) -> Recognition:
        """Shifts word times and clips them to 0 and the duration of the audio."""
        words = [
            replace(
                word,
                start_s=min(max(0.0, word.start_s + shift_s), duration_s),
                end_s=min(max(0.0, word.end_s + shift_s), duration_s),
            )
            for word in self.words
        ]
        return replace(self, words=words)


@dataclass(frozen=True)
class TranscriptSegment:
    """A segment of speech and its hypothesis; times are seconds from the start of the audio.

    Attributes:
        audio: (samples,) at 16 kHz; set only for results passed to callbacks, None in a `Transcript`.
        terms: the keyterms in the decoded text, in order.
        raw_text: the decoded text, if replacements have changed it (see `recognition.replacements`).
    """

    start_s: float
    end_s: float
    text: str
    words: Sequence[Word]
    audio: Samples | None = field(default=None, repr=False, compare=False)
    terms: Sequence[TermMatch] = ()
    raw_text: str | None = None

    @classmethod
    def of(cls, segment: Segment, recognition: Recognition) -> TranscriptSegment | None:
        """Makes word times relative to the start of the recording or stream; None if no word was recognised."""
        if not recognition.text:
            return None
        words = [word.shifted(segment.start_s) for word in recognition.words]
        return cls(segment.start_s, segment.end_s, recognition.text, words, segment.audio, recognition.terms)

    @property
    def decoded_text(self) -> str:
        """The text without replacements."""
        return self.text if self.raw_text is None else self.raw_text

    @property
    def confidence(self) -> float:
        """0 to 1: the geometric mean of the word confidences."""
        return confidence(self.words)


@dataclass(frozen=True)
class Transcript:
    """The hypothesis for a whole recording; `duration_s` is that of its audio, in seconds."""

    segments: Sequence[TranscriptSegment]
    duration_s: float

    @property
    def text(self) -> str:
        """The segments' texts, joined by spaces."""
        return " ".join(segment.text for segment in self.segments)

    @property
    def words(self) -> list[Word]:
        """The words of all segments, in order."""
        return [word for segment in self.segments for word in segment.words]

    @property
    def confidence(self) -> float:
        """0 to 1: the geometric mean of the word confidences."""
        return confidence(self.words)


@dataclass(frozen=True)
class Update:
    """A partial or final result of a stream: the text of the current segment so far, or of a complete segment."""

    segment: TranscriptSegment
    is_final: bool


def confidence(words: Sequence[Word]) -> float:
    """0 to 1: the geometric mean of the word confidences; 1 without words."""
    return geometric_mean([math.log(max(word.confidence, 1e-9)) for word in words])  # log(0) is not finite


def geometric_mean(logarithms: Sequence[float]) -> float:
    """The geometric mean of values given by their natural logarithms; 1 without values."""
    return math.exp(sum(logarithms) / max(1, len(logarithms)))
