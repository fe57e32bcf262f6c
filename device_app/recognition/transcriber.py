"""The library's face: audio in, text and words out; whole recordings and live streams."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from numpy.typing import NDArray

from device_app.audio.samples import SAMPLE_RATE, Converter, Samples, read_blocks, to_model_rate
from device_app.audio.vad import Segment, Segmenter, SegmentSettings, VoiceActivity
from device_app.models.bundles import baked
from device_app.recognition import families
from device_app.recognition.families import Recognition, Word
from device_app.recognition.ngram import NGram
from device_app.recognition.onnx_session import default_threads
from editing.errors import BundleError
from export.bundle import Bundle, Precision

# Recordings are cut at longer pauses than speech at a microphone: nobody waits for the text, and
# the recogniser hears better with more around a word.
RECORDING = SegmentSettings(silence_s=2.0)

# A partial text is not worth more than half of the machine's time.
LARGEST_PARTIAL_SHARE = 0.5


@dataclass(frozen=True)
class Utterance:
    """A stretch of speech and what was heard in it; times are seconds from the audio's start.

    Attributes:
        audio: (samples,) at 16 kHz, while the utterance is new; a transcript does not keep it.
    """

    start_s: float
    end_s: float
    text: str
    words: Sequence[Word]
    audio: Samples | None = field(default=None, repr=False, compare=False)

    @property
    def confidence(self) -> float:
        """0 to 1: the geometric mean of the words'."""
        return confidence(self.words)


@dataclass(frozen=True)
class Transcript:
    """What was heard in a whole recording."""

    utterances: Sequence[Utterance]
    duration_s: float

    @property
    def text(self) -> str:
        return " ".join(utterance.text for utterance in self.utterances)

    @property
    def words(self) -> list[Word]:
        return [word for utterance in self.utterances for word in utterance.words]

    @property
    def confidence(self) -> float:
        """0 to 1: the geometric mean of the words'."""
        return confidence(self.words)


def confidence(words: Sequence[Word]) -> float:
    """0 to 1: the geometric mean of the words'; 1 where there are none."""
    return math.exp(sum(math.log(max(word.confidence, 1e-9)) for word in words) / max(1, len(words)))


@dataclass(frozen=True)
class Update:
    """What a live stream says: the text so far, or an utterance's final text."""

    utterance: Utterance
    is_final: bool


class Transcriber:
    """A loaded model. One object may serve several threads and streams."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: Precision = "int8",
        threads: int | None = None,
        on_bake: Callable[[], None] | None = None,
        folder: Path | None = None,
        language_model: NGram | None = None,
    ) -> None:
        """Loads the model, baking it first if this machine has not run it before.

        Args:
            bundle: for instance `embedded_bundle()`.
            precision: "int8", or "fp32" to compare with.
            threads: for the recogniser; by default up to 4 of those available.
            on_bake: called where the model has to be baked, which takes a second or two.
            folder: with graphs that were baked already, to be used instead.
            language_model: of words, to decode with; for CTC models.

        Raises:
            BadInputError: a language model was given for a family that decodes without one.
            BundleError: the bundle is damaged, of an unknown family, or of another sampling rate.
            StorageError: it had to be baked and the data folder cannot be written.
        """
        if bundle.sampling_rate != SAMPLE_RATE:
            raise BundleError(f"{bundle.folder}: takes audio at {bundle.sampling_rate} Hz; expected {SAMPLE_RATE} Hz")
        families.check(bundle)
        self._recogniser = families.load(
            bundle, folder or baked(bundle, precision, on_bake), threads or default_threads(), language_model
        )
        self._voice = VoiceActivity()

    def transcribe(self, audio: NDArray[Any], sample_rate: float) -> Transcript:
        """Hears a recording that is in memory.

        Args:
            audio: (samples,) or (samples, channels), floats in -1..1 or signed integers.
            sample_rate: in Hz, any.

        Raises:
            BadAudioError: less than 0.1 s, NaN, or not audio.
        """
        return self._transcript([to_model_rate(audio, sample_rate)])

    def transcribe_file(
        self,
        source: Path | IO[bytes],
        name: str | None = None,
        *,
        on_utterance: Callable[[Utterance], None] = lambda _utterance: None,
        on_progress: Callable[[float], None] = lambda _seconds: None,
    ) -> Transcript:
        """Hears a file of any length, rate and channel count, or a seekable binary stream.

        Args:
            source: the file.
            name: what to call it in errors; by default its path.
            on_utterance: called with each utterance as soon as it is heard.
            on_progress: called with the seconds of audio that have been heard since the last call.

        Raises:
            BadAudioError: it cannot be read.
        """
        return self._transcript(read_blocks(source, name or str(source)), on_utterance, on_progress)

    def _transcript(
        self,
        blocks: Iterable[Samples],
        on_utterance: Callable[[Utterance], None] = lambda _utterance: None,
        on_progress: Callable[[float], None] = lambda _seconds: None,
    ) -> Transcript:
        samples = 0

        def counted() -> Iterator[Samples]:
            nonlocal samples
            for block in blocks:
                samples += len(block)
                yield block
                on_progress(len(block) / SAMPLE_RATE)

        utterances = []
        for utterance in self.utterances(counted()):
            on_utterance(utterance)
            utterances.append(replace(utterance, audio=None))
        return Transcript(utterances, samples / SAMPLE_RATE)

    def utterances(self, blocks: Iterable[Samples]) -> Iterator[Utterance]:
        """Hears 16 kHz mono audio that comes in blocks; yields each utterance as it is done.

        Holds no more than one utterance's audio, so memory does not grow with the recording.
        """
        segmenter = Segmenter(self._voice, RECORDING)
        for block in blocks:
            yield from self._hear_all(segmenter.feed(block))
        yield from self._hear_all(segmenter.finish())

    def stream(
        self,
        sample_rate: float = SAMPLE_RATE,
        *,
        settings: SegmentSettings | None = None,
        partial_s: float = 0.5,
    ) -> Stream:
        """Starts hearing live audio.

        Args:
            sample_rate: of the blocks to come, in Hz.
            settings: when an utterance ends.
            partial_s: seconds of audio between two partial texts; 0 for none.
        """
        return Stream(self._recogniser, Segmenter(self._voice, settings), Converter(sample_rate), partial_s)

    def _hear_all(self, segments: Iterable[Segment]) -> Iterator[Utterance]:
        for segment in segments:
            if utterance := placed(segment, self._recogniser.recognise(segment.audio)):
                yield utterance


def placed(segment: Segment, recognition: Recognition) -> Utterance | None:
    """A segment's words at their times in the stream; None where nothing was said."""
    if not recognition.text:
        return None
    words = [
        replace(word, start_s=word.start_s + segment.start_s, end_s=word.end_s + segment.start_s)
        for word in recognition.words
    ]
    return Utterance(segment.start_s, segment.end_s, recognition.text, words, segment.audio)


class Stream:
    """Live audio: partial texts while a person speaks, a final one when they stop.

    The final text is usually there before the silence that ends the utterance is over: as soon
    as the silence has filled the segment's padding, its audio can no longer change unless speech
    goes on, so it is heard then, and that result is the final one.
    """

    def __init__(
        self, recogniser: families.Recogniser, segmenter: Segmenter, convert: Converter, partial_s: float
    ) -> None:
        self._recogniser = recogniser
        self._segmenter = segmenter
        self._convert = convert
        self._partial_s = partial_s
        self._heard: tuple[Segment, Recognition] | None = None
        self._cost_s = 0.0  # wall time of the latest recognition

    def feed(self, block: NDArray[Any]) -> list[Update]:
        """Takes the next block, (samples,) or (samples, channels); returns what is new.

        Raises:
            BadAudioError: the samples are not audio.
        """
        updates = self._finals(self._segmenter.feed(self._convert(block)))
        current = self._segmenter.current()
        if current is not None and self._is_due(current):
            utterance = placed(current, self._recognise(current))
            if utterance is not None and self._partial_s:
                updates.append(Update(utterance, is_final=False))
        return updates

    def finish(self) -> list[Update]:
        """Ends the stream: the final text of what was being said. Nothing may be fed after it."""
        updates = self._finals(self._segmenter.feed(self._convert.finish()))
        return updates + self._finals(self._segmenter.finish())

    def _is_due(self, current: Segment) -> bool:
        """Whether to hear what has been said so far."""
        if self._segmenter.silence_s >= self._segmenter.settings.padding_s:
            return not self._is_heard(current)
        if not self._partial_s:
            return False
        since = self._heard[0].end_s if self._heard else current.start_s
        return current.end_s - since >= max(self._partial_s, self._cost_s / LARGEST_PARTIAL_SHARE)

    def _is_heard(self, segment: Segment) -> bool:
        if self._heard is None:
            return False
        heard = self._heard[0]
        return heard.start_s == segment.start_s and len(heard.audio) == len(segment.audio)

    def _finals(self, segments: Iterable[Segment]) -> list[Update]:
        utterances = [placed(segment, self._recognise(segment)) for segment in segments]
        return [Update(utterance, is_final=True) for utterance in utterances if utterance is not None]

    def _recognise(self, segment: Segment) -> Recognition:
        if self._heard is None or not self._is_heard(segment):
            began = time.perf_counter()
            self._heard = segment, self._recogniser.recognise(segment.audio)
            self._cost_s = time.perf_counter() - began
        return self._heard[1]
