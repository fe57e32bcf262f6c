"""Finds where speech starts and ends with Silero VAD, and cuts audio into segments.

Files and the microphone use the same `Segmenter` with different settings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.paths import ASSETS
from editing.ranges import Range

MODEL = ASSETS / "silero_vad.onnx"
FRAME = 512  # samples, 32 ms: the frame size of Silero's network at 16 kHz
CONTEXT = 64  # samples from the end of the previous frame, which the network takes before a frame
FRAME_S = FRAME / SAMPLE_RATE

# Silero's own defaults: speech begins at 0.5, and ends only below 0.35.
ONSET = 0.5
OFFSET = 0.35
LIMITS_S = {"silence_s": Range(0, 60), "padding_s": Range(0, 10), "longest_s": Range(1, 60)}
# The network gets faint noise before each stream: it was trained on recordings that do not begin within a word. Of
# 1023 single digits cut from training recordings without silence, it misses 17 without and 1 with it. In 1200
# recordings without speech it finds none either way (with noise at -50 dBFS; at -40 dBFS it finds some in one).
LEAD_IN_S = 0.5
LEAD_IN_DB = -50.0
# A segment with fewer frames of speech than this is a click or a cough.
MINIMUM_SPEECH_FRAMES = 3


class VoiceActivity:
    """Silero VAD on ONNX Runtime, one thread: the probability of speech in each 32 ms frame.

    https://github.com/snakers4/silero-vad (MIT). One object may serve many streams at once; each
    stream has its own `VoiceState`.
    """

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
        self._start = VoiceState()
        noise = np.random.default_rng(0).standard_normal((round(LEAD_IN_S / FRAME_S), FRAME), np.float32)
        self(noise * np.float32(10 ** (LEAD_IN_DB / 20)), self._start)

    def start(self) -> VoiceState:
        """The state at the beginning of a stream, after faint noise."""
        return replace(self._start)

    def __call__(self, frames: Samples, state: VoiceState) -> NDArray[np.float32]:
        """Probabilities (frames,) for audio of shape (frames, 512), at least one frame; updates `state`."""
        before = np.concatenate([state.context[None], frames[:-1, -CONTEXT:]])
        probabilities, state.hidden, state.cell = self._session.run(
            ["speech_probs", "hn", "cn"],
            {"input": np.concatenate([before, frames], axis=1), "h": state.hidden, "c": state.cell},
        )
        state.context = frames[-1, -CONTEXT:].copy()
        flat: NDArray[np.float32] = probabilities.reshape(-1)
        return flat


@dataclass
class VoiceState:
    """The state of the network for one stream: the last `CONTEXT` samples, and hidden and cell state of its LSTM."""

    context: Samples = field(default_factory=lambda: np.zeros(CONTEXT, np.float32))
    hidden: NDArray[np.float32] = field(default_factory=lambda: np.zeros((1, 1, 128), np.float32))
    cell: NDArray[np.float32] = field(default_factory=lambda: np.zeros((1, 1, 128), np.float32))


@dataclass(frozen=True)
class SegmentSettings:
    """Where segments start and end.

    Attributes:
        silence_s: this much silence ends a segment; 0 to 60.
        padding_s: this much audio is kept before the first and after the last frame of speech, so
            that no quiet syllable is lost; 0 to 10.
        longest_s: a segment that reaches this length is cut at its best pause (`best_pause`); 1 to 60, and at least
            twice the padding.
    """

    silence_s: float = 0.5
    padding_s: float = 0.3
    longest_s: float = 20.0

    def __post_init__(self) -> None:
        """
        Raises:
            BadInputError: a setting is out of range.
        """
        for name, limits in LIMITS_S.items():
            limits.check(name, getattr(self, name))


# Recordings are cut at longer pauses than live speech and keep more audio around it: nobody waits for the text, and the
# recogniser makes fewer errors with more context. With a beam, padding of 0.6 s gives 0.7 points less WER than 0.3 s
# (350 utterances of nine training sets, 95 % interval -2.0 to +0.5).
RECORDING = SegmentSettings(silence_s=2.0, padding_s=0.6)


@dataclass(frozen=True)
class Segment:
    """A stretch of speech with its padding.

    Attributes:
        start_s: where it begins in the stream.
        audio: (samples,), 16 kHz.
    """

    start_s: float
    audio: Samples

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.audio) / SAMPLE_RATE


class Segmenter:
    """Cuts a stream of audio into segments of speech; keeps at most `longest_s` of audio in memory."""

    def __init__(self, voice: VoiceActivity, settings: SegmentSettings | None = None) -> None:
        """
        Args:
            voice: the voice activity detector; other streams may use it too.
            settings: where segments start and end; None for the defaults.
        """
        self.settings = settings or SegmentSettings()
        self._voice = voice
        self._state = voice.start()
        self._rest = np.zeros(0, np.float32)  # samples that do not fill a frame yet
        # In frames.
        self._padding = max(1, round(self.settings.padding_s / FRAME_S))
        self._silence = max(1, round(self.settings.silence_s / FRAME_S))
        self._longest = max(2 * self._padding + MINIMUM_SPEECH_FRAMES, round(self.settings.longest_s / FRAME_S))
        self._taken = 0  # frames of the stream that have been processed
        self._before: deque[Samples] = deque(maxlen=self._padding)  # the last frames outside a segment
        self._open: _OpenSegment | None = None

    def feed(self, audio: Samples) -> Iterator[Segment]:
        """Takes the next audio (samples,) and yields the segments that ended in it."""
        self._rest = np.concatenate([self._rest, audio])
        count = len(self._rest) // FRAME
        if not count:
            return
        frames = self._rest[: count * FRAME].reshape(count, FRAME)
        self._rest = self._rest[count * FRAME :].copy()
        for frame, probability in zip(frames, self._voice(frames, self._state), strict=True):
            yield from self._advance(frame, float(probability))

    def finish(self) -> Iterator[Segment]:
        """Yields the segment that is still open at the end of the stream, if it has speech."""
        filling = -len(self._rest) % FRAME
        yield from self.feed(np.zeros(filling, np.float32))
        if self._open is not None and self._open.is_speech:
            last = self._open.segment(self._padding)
            end = self._taken * FRAME - filling - self._open.first * FRAME
            yield Segment(last.start_s, last.audio[:end])
        self._open = None

    def current(self) -> Segment | None:
        """The open segment so far, with its padding; None if there is no speech in it."""
        if self._open is None or not self._open.is_speech:
            return None
        return self._open.segment(self._padding)

    @property
    def silence_s(self) -> float:
        """Seconds since the last speech in the open segment; 0 if no segment is open."""
        return self._open.silence * FRAME_S if self._open is not None else 0.0

    def _advance(self, frame: Samples, probability: float) -> Iterator[Segment]:
        self._taken += 1
        if self._open is None:
            if probability < ONSET:
                self._before.append(frame)
                return
            first = self._taken - 1 - len(self._before)
            # Their probabilities were below ONSET; 0 stands for all.
            self._open = _OpenSegment(first, list(self._before), [0.0] * len(self._before))
            self._before.clear()
        segment = self._open
        segment.add(frame, probability)
        if segment.silence >= self._silence:
            if segment.is_speech:
                yield segment.segment(self._padding)
            self._before.extend(segment.frames[-self._padding :])
            self._open = None
        elif len(segment.frames) >= self._longest:
            head, self._open = segment.split()
            if segment.is_speech:
                yield head


def speech_span(audio: Samples, voice: VoiceActivity) -> tuple[int, int] | None:
    """Finds the span of speech in a recording: from the start of its first segment to the end of its last.

    The segments are those that the transcriber cuts. Two other functions remove silence in other ways.
    `recording.quality.measure` trims a take by the probabilities of single frames, so that it keeps and reports a word
    too short to be a segment, and its margins are exact. `recognition.attention.trim_silence` works within one word, by
    energy, because the 32 ms frames of a voice activity detector are too coarse there.

    Args:
        audio: (samples,) at 16 kHz.
        voice: finds the speech.

    Returns:
        Start and end in samples, including the padding; None if there is no speech.
    """
    segmenter = Segmenter(voice, RECORDING)
    segments = [*segmenter.feed(audio), *segmenter.finish()]
    if not segments:
        return None
    return round(segments[0].start_s * SAMPLE_RATE), min(len(audio), round(segments[-1].end_s * SAMPLE_RATE))


class _OpenSegment:
    """Frames of a segment that has not ended, and how likely each is speech."""

    def __init__(self, first: int, frames: list[Samples], probabilities: list[float]) -> None:
        self.first = first  # the index of its first frame in the stream
        self.frames = frames
        self.probabilities = probabilities
        self.silence = 0  # frames since the last speech
        self.voiced = 0  # frames with a probability of at least ONSET
        self._speaking = False  # whether the last frame is speech, with hysteresis (ONSET, OFFSET)

    def add(self, frame: Samples, probability: float) -> None:
        self.frames.append(frame)
        self.probabilities.append(probability)
        self._speaking = probability >= (OFFSET if self._speaking else ONSET)
        self.silence = 0 if self._speaking else self.silence + 1
        self.voiced += probability >= ONSET

    @property
    def is_speech(self) -> bool:
        return self.voiced >= MINIMUM_SPEECH_FRAMES

    def segment(self, padding: int) -> Segment:
        """The whole segment; silence at its end is trimmed to the padding."""
        surplus = max(0, self.silence - padding)
        return Segment(self.first * FRAME_S, np.concatenate(self.frames[: len(self.frames) - surplus]))

    def split(self) -> tuple[Segment, _OpenSegment]:
        """Cuts in the second half: at the middle of its longest pause, or at its quietest point if it has none."""
        half = len(self.frames) // 2
        cut = half + best_pause(np.array(self.probabilities[half:]), np.stack(self.frames[half:]))
        head = Segment(self.first * FRAME_S, np.concatenate(self.frames[:cut]))
        rest = _OpenSegment(self.first + cut, [], [])
        for frame, probability in zip(self.frames[cut:], self.probabilities[cut:], strict=True):
            rest.add(frame, probability)
        return head, rest


def best_pause(probabilities: NDArray[np.float64], frames: Samples) -> int:
    """The frame to cut before: the middle of the longest run of non-speech, or the quietest if there is none.

    Args:
        probabilities: (frames,), the probability of speech.
        frames: (frames, samples).
    """
    longest, start, best = 0, 0, 0
    for index, quiet in enumerate(np.append(probabilities < OFFSET, False)):
        if quiet:
            continue
        if index - start > longest:
            longest, best = index - start, (start + index) // 2
        start = index + 1
    if longest:
        return max(1, best)
    # Speech without a pause: between two words or syllables the energy dips for about 100 ms.
    energy = np.convolve(np.square(frames).mean(axis=1), np.ones(3), mode="valid")
    return int(energy.argmin()) + 1
