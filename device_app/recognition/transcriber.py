"""The public API: audio in, text and words out; whole recordings and live streams."""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import SAMPLE_RATE, Converter, Samples, as_array, check_scale, read_blocks, to_model_rate
from device_app.audio.vad import RECORDING, Segment, Segmenter, SegmentSettings, VoiceActivity
from device_app.data.terms import Term
from device_app.models.baking import baked
from device_app.program_version import program_version
from device_app.recognition import families
from device_app.recognition.families import Recogniser
from device_app.recognition.onnx_session import THREADS, default_threads
from device_app.recognition.options import DEFAULT, DecodingOptions
from device_app.recognition.replacements import Replacer
from device_app.recognition.results import Transcript, TranscriptSegment
from device_app.recognition.shared_cores import SharedCoresRecogniser
from device_app.recognition.stream import Stream
from editing.errors import BadInputError, BundleError, IncompleteAudioError, one_line
from editing.files import sha256
from editing.ranges import Range
from export.bundle import PRECISIONS, Bundle, Precision

PARTIAL_S = Range(0, 60)  # limits of `Transcriber.stream(partial_s=...)`


class Transcriber:
    """A loaded model. One object may serve several threads and streams."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: Precision = "int8",
        threads: int | None = None,
        on_bake: Callable[[], None] | None = None,
        folder: str | Path | None = None,
        options: DecodingOptions = DEFAULT,
        is_shared: bool = False,
    ) -> None:
        """Loads the model, baking it first if this machine has not run it before.

        Args:
            bundle: for instance `my_model()`.
            precision: "int8", or "fp32" for comparison.
            threads: CPU threads of ONNX Runtime, at least 1; by default up to 4 of those available.
            on_bake: called before the model is baked, which takes a second or two.
            folder: folder of baked graphs to use; None bakes the bundle, or finds its baked graphs.
            options: decoding options.
            is_shared: whether several threads use the object at the same time. A segment is then recognised with one
                thread while there are others, and with `threads` if it is the only one. The first time that there are
                others, the model is loaded once more (60 MB).

        Raises:
            BadInputError: an argument is of another type or out of range, or the family does not support one of the
                options.
            BundleError: the bundle is damaged, of an unknown family, or of another sampling rate.
            StorageError: the model must be baked, and the data folder cannot be written.
        """
        _check_arguments(bundle, precision, threads, folder, options)
        if bundle.sampling_rate != SAMPLE_RATE:
            raise BundleError(f"{bundle.folder}: takes audio at {bundle.sampling_rate} Hz; expected {SAMPLE_RATE} Hz")
        family = families.find(bundle)
        self._folder = baked(bundle, precision, on_bake) if folder is None else Path(folder)
        self.language = bundle.language  # of the text, a code of ISO 639
        self._options = options
        threads = threads or default_threads()
        load = partial(family.load, bundle, self._folder, options=options)
        self._recogniser: Recogniser = load(threads=threads)
        if is_shared and threads > 1:
            self._recogniser = SharedCoresRecogniser(self._recogniser, partial(load, threads=1))
        self._replace_words = Replacer(options.replacements)
        self._voice = VoiceActivity()

    def identity(self) -> str:
        """A hash of all that decides the decoded text of a segment: program version, weights and decoding options."""
        language_model = self._options.language_model
        parts = [
            program_version(),
            *(f"{path.name} {sha256(path)}" for path in sorted(self._folder.glob("*.onnx"))),
            repr(replace(self._options, language_model=None, replacements=())),
            "" if language_model is None else repr(sorted(language_model.probabilities.items())),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def wrapped(self, wrap: Callable[[Recogniser], Recogniser]) -> Transcriber:
        """Returns a transcriber of the same loaded model, whose recogniser is `wrap` of this one's."""
        other = copy.copy(self)
        other._recogniser = wrap(self._recogniser)
        return other

    def with_keyterms(self, keyterms: Sequence[Term | str]) -> Transcriber:
        """Returns a transcriber of the same loaded model that expects these words and phrases too.

        Raises:
            BadInputError: one of them is not a valid term.
        """
        other = copy.copy(self)
        other._options = replace(self._options, keyterms=[*self._options.keyterms, *keyterms])
        other._recogniser = self._recogniser.with_keyterms(other._options.keyterms)
        return other

    def transcribe(self, audio: NDArray[Any], sample_rate: float) -> Transcript:
        """Transcribes a recording in memory.

        Args:
            audio: (samples,) or (samples, channels), floats in -1..1, int16 or int32.
            sample_rate: any sampling rate, in Hz.

        Raises:
            BadAudioError: less than 0.1 s, NaN, of another type or shape, floats of the size of 16-bit samples, or a
                sampling rate that is not from 1000 to 1,000,000 Hz.
        """
        samples = as_array(audio)
        check_scale(samples)
        return self._transcript([to_model_rate(samples, sample_rate)])

    def log_probabilities(self, audio: Samples, text: str) -> NDArray[np.float32]:
        """The model's log-probabilities in nats for a short recording, taken as one segment.

        Args:
            audio: (samples,) at 16 kHz.
            text: its transcript (see `recognition.families.Recogniser`).

        Returns:
            (tokens + 1, vocabulary); for a CTC model (frames, vocabulary).
        """
        return self._recogniser.log_probabilities(audio, text)

    def text_loss(self, log_probabilities: NDArray[np.float32], text: str) -> float | None:
        """The negative log-likelihood of a text in nats, from `log_probabilities` for it; None for a CTC model."""
        return self._recogniser.text_loss(log_probabilities, text)

    def transcribe_file(
        self,
        source: str | Path | IO[bytes],
        name: str | None = None,
        *,
        on_segment: Callable[[TranscriptSegment], None] = lambda _segment: None,
        on_progress: Callable[[float], None] = lambda _seconds: None,
    ) -> Transcript:
        """Transcribes a file of any length, rate and channel count, or a seekable binary stream.

        Args:
            source: the path of the file, or the stream.
            name: what to call it in errors; by default its path.
            on_segment: called with each segment as soon as it is recognised.
            on_progress: called with the seconds of audio that have been read since the last call.

        Raises:
            BadInputError: `source` is neither the path of a file nor a seekable binary stream.
            BadAudioError: it cannot be read.
            IncompleteAudioError: the file is damaged or cut off; the error's `transcript` is of what could be read.
        """
        file = _readable(source)
        return self._transcript(read_blocks(file, name or str(source)), on_segment, on_progress)

    def _transcript(
        self,
        blocks: Iterable[Samples],
        on_segment: Callable[[TranscriptSegment], None] = lambda _segment: None,
        on_progress: Callable[[float], None] = lambda _seconds: None,
    ) -> Transcript:
        samples = 0
        fault: IncompleteAudioError | None = None

        def counted() -> Iterator[Samples]:
            nonlocal samples, fault
            try:
                for block in blocks:
                    samples += len(block)
                    yield block
                    on_progress(len(block) / SAMPLE_RATE)
            except IncompleteAudioError as error:  # raised below: the segment that is still open is recognised first
                fault = error

        segments = []
        for segment in self.segments(counted()):
            on_segment(segment)
            segments.append(replace(segment, audio=None))
        transcript = Transcript(segments, samples / SAMPLE_RATE)
        if fault is not None:
            fault.transcript = transcript
            raise fault
        return transcript

    def segments(self, blocks: Iterable[Samples]) -> Iterator[TranscriptSegment]:
        """Transcribes blocks of audio, (samples,) at 16 kHz; yields each segment as soon as it is recognised.

        Keeps the audio of one segment only, so memory does not grow with the recording.
        """
        for segments in self.segments_by_block(blocks):
            yield from segments

    def segments_by_block(self, blocks: Iterable[Samples]) -> Iterator[list[TranscriptSegment]]:
        """As `segments`, but yields a list after each block: the segments that ended in it, often none.

        The last list has the segments that ended with the audio. So a caller can do something else after each block,
        even if nobody speaks for a long time.
        """
        segmenter = Segmenter(self._voice, RECORDING)
        for block in blocks:
            yield list(self._recognise_all(segmenter.feed(block)))
        yield list(self._recognise_all(segmenter.finish()))

    def stream(
        self,
        sample_rate: float = SAMPLE_RATE,
        *,
        settings: SegmentSettings | None = None,
        partial_s: float = 0.5,
    ) -> Stream:
        """Starts the recognition of live audio.

        Args:
            sample_rate: sampling rate of the blocks in Hz.
            settings: decide when a segment ends.
            partial_s: seconds of audio between two partial texts, up to 60; 0 for none.

        Raises:
            BadInputError: an argument is of another type or out of range.
        """
        _check_stream_arguments(settings, partial_s)
        segmenter = Segmenter(self._voice, settings)
        return Stream(self._recogniser, segmenter, Converter(sample_rate), partial_s, self._replace_words)

    def _recognise_all(self, segments: Iterable[Segment]) -> Iterator[TranscriptSegment]:
        """Yields the result for each segment that has words."""
        for segment in segments:
            result = TranscriptSegment.of(segment, self._recogniser.recognise(segment.audio))
            if result is not None and (replaced := self._replace_words(result)) is not None:
                yield replaced


def _check_arguments(bundle: object, precision: object, threads: object, folder: object, options: object) -> None:
    if not isinstance(bundle, Bundle):
        raise BadInputError(f"the bundle is {_shown(bundle)}; expected a Bundle, such as my_model() or my_model(NAME)")
    if precision not in PRECISIONS:
        raise BadInputError(f"precision is {_shown(precision)}; expected one of {', '.join(PRECISIONS)}")
    if threads is not None:
        THREADS.check("threads", threads)
    if not isinstance(folder, str | Path | None):
        raise BadInputError(f"folder is {_shown(folder)}; expected a path")
    if not isinstance(options, DecodingOptions):
        raise BadInputError(f"options is {_shown(options)}; expected DecodingOptions")


def _check_stream_arguments(settings: object, partial_s: object) -> None:
    if not isinstance(settings, SegmentSettings | None):
        raise BadInputError(f"settings is {_shown(settings)}; expected SegmentSettings")
    PARTIAL_S.check("partial_s", partial_s)


def _readable(source: object) -> Any:
    """A path of a file, or the stream itself."""
    if isinstance(source, str | Path) and str(source) and "\0" not in str(source):
        return Path(source)
    is_stream = hasattr(source, "read") and hasattr(source, "seek")
    if is_stream and not isinstance(source, io.TextIOBase) and not getattr(source, "closed", False):
        return source
    raise BadInputError(f"the source is {_shown(source)}; expected the path of a file or a seekable binary stream")


def _shown(value: object) -> str:
    return one_line(repr(value), 60)
