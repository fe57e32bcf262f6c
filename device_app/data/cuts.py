"""Reads a cut: the part of a recording that `offset` and `duration` in a manifest select."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Self

import numpy as np

from device_app.audio.decoding import tracks
from device_app.audio.native_messages import without_mpg123_messages
from device_app.audio.samples import (
    MINIMUM_S,
    SAMPLE_RATE,
    Converter,
    InvalidSamples,
    Samples,
    duration_s,
    read_blocks,
)
from editing.errors import AsrEdgeError, BadAudioError, BadInputError

# In samples at 16 kHz. Durations in manifests are rounded, often to 0.1 s, and those of MP3 headers are up to 0.1 s
# wrong; 0.25 s is more than both together.
TOLERANCE = SAMPLE_RATE // 4
MARGIN = SAMPLE_RATE // 4  # samples at 16 kHz that are read before a cut, so that the resampler has settled
EXACT_FORMATS = frozenset({"FLAC", "WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"})  # seeking is sample-exact
KEPT_S = 60  # seconds before the end of the last cut that stay in memory (4 MB): cuts overlap, or are out of order
MAX_STREAMS = 4  # recordings, of which lines may alternate, that stay open
MAX_FACTS = 1024  # recordings of which the length is remembered


def fit(start: int, end: int | None, length_s: float) -> tuple[int, int | None]:
    """Checks that a cut lies inside its recording.

    Args:
        start, end: in samples at 16 kHz; an end of None is the end of the recording.
        length_s: duration of the recording in seconds; 0 if it is unknown, so that only reading can check the cut.

    Returns:
        Start and end of the cut, in samples at 16 kHz. The end is None where the cut reaches the end of the recording.

    Raises:
        BadInputError: the cut is shorter than 0.1 s, or not inside the recording.
    """
    if end is not None and end - start < MINIMUM_S * SAMPLE_RATE:
        raise BadInputError(
            f"the part from {start / SAMPLE_RATE:.3f} s is {(end - start) / SAMPLE_RATE:.3f} s long; at least "
            f'{MINIMUM_S:g} s are needed; correct "duration"'
        )
    if not length_s:
        return start, end
    length = length_s * SAMPLE_RATE
    if start >= length or (end is not None and end > length + TOLERANCE):
        to = "its end" if end is None else f"{end / SAMPLE_RATE:.3f} s"
        raise BadInputError(
            f"the part from {start / SAMPLE_RATE:.3f} s to {to} is outside the recording, which has {length_s:.3f} s; "
            'correct "offset" and "duration"'
        )
    # A line of a manifest for a whole recording, with a rounded duration, counts as whole.
    is_to_end = end is None or end >= length or (start == 0 and end >= length - TOLERANCE)
    return start, None if is_to_end else end


def read_cut(
    path: Path, start: int, end: int | None, on_repair: Callable[[str], None] = lambda _message: None
) -> Samples:
    """Reads one cut; `CutReader.read` has the arguments and errors."""
    with CutReader() as reader:
        return reader.read(path, start, end, on_repair)


class CutReader:
    """Reads cuts of recordings; for several cuts of one recording, it decodes on from the end of the last one.

    Cuts in the order of their starts decode each recording once, also if they overlap by up to `KEPT_S`, or if the cuts
    of up to `MAX_STREAMS` recordings alternate. For a cut that begins before what is still in memory, decoding starts
    again. Samples, messages and errors do not depend on the order. Threads may share a reader. It is a context manager,
    which closes the open recordings; they must not change until then.
    """

    def __init__(self) -> None:
        self._idle: list[_Stream] = []  # those that no thread is reading; the last one was used last
        self._lock = Lock()
        self._length = lru_cache(MAX_FACTS)(_duration_or_error)
        self._tracks = lru_cache(MAX_FACTS)(tracks)
        self._may_seek = lru_cache(MAX_FACTS)(self._is_seekable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._idle:
            self._idle.pop().close()

    def duration_s(self, path: Path) -> float:
        """As `device_app.audio.samples.duration_s`, which may read the whole file: here once for all its cuts.

        Raises:
            BadAudioError: as there.
        """
        length = self._length(path)
        if isinstance(length, BadAudioError):
            raise copy(length) from length
        return length

    def tracks(self, path: Path) -> int:
        """As `device_app.audio.decoding.tracks`, counted once for all cuts of a recording."""
        return self._tracks(path)

    def read(
        self, path: Path, start: int, end: int | None, on_repair: Callable[[str], None] = lambda _message: None
    ) -> Samples:
        """Reads a cut as 16 kHz mono, (samples,). Memory holds the cut and `KEPT_S`, not the whole recording.

        Args:
            path: the recording.
            start, end: in samples at 16 kHz; None is the end of the recording.
            on_repair: as for `device_app.audio.samples.read`.

        Raises:
            BadAudioError: the recording cannot be read, or the cut is outside it or shorter than 0.1 s.
        """
        invalid = InvalidSamples()
        cut = _seek(path, start, end, invalid) if self._may_seek(path) else None
        if cut is None:
            cut, invalid = self._decode(path, start, end)
        if (message := invalid.message(str(path))) is not None:
            on_repair(message)
        found_s, start_s = len(cut) / SAMPLE_RATE, start / SAMPLE_RATE
        if end is not None and end - start - len(cut) > TOLERANCE:
            raise BadAudioError(
                f"{path}: has {found_s:.3f} s of audio after {start_s:.3f} s; "
                f"expected {(end - start) / SAMPLE_RATE:.3f} s"
            )
        if len(cut) < MINIMUM_S * SAMPLE_RATE:
            raise BadAudioError(
                f"{path}: the part from {start_s:.3f} s has {found_s:.3f} s of audio; "
                f"at least {MINIMUM_S:g} s are needed"
            )
        return cut

    def _decode(self, path: Path, start: int, end: int | None) -> tuple[Samples, InvalidSamples]:
        """Reads a cut by decoding up to its end, and counts the invalid samples up to there."""
        with self._lock:
            fitting = [one for one in self._idle if one.path == path and one.has(start)]
            stream = max(fitting, key=lambda one: one.position) if fitting else _Stream(path)
            if fitting:
                self._idle.remove(stream)
        try:
            return stream.read(start, end)
        finally:
            with self._lock:
                self._idle.append(stream)
                unused, self._idle = self._idle[:-MAX_STREAMS], self._idle[-MAX_STREAMS:]
            for one in unused:
                one.close()

    def _is_seekable(self, path: Path) -> bool:
        """Whether seeking is exact, by the format and the header of a recording.

        libsndfile seeks within the length that the header declares, which is wrong in joined and unfinished files.
        """
        import soundfile

        try:
            with without_mpg123_messages(), soundfile.SoundFile(path) as file:
                if file.format not in EXACT_FORMATS or not file.seekable():
                    return False
                return bool(abs(file.frames - self.duration_s(path) * file.samplerate) <= 1)
        except (OSError, BadAudioError, soundfile.LibsndfileError):
            return False


def _duration_or_error(path: Path) -> float | BadAudioError:
    try:
        return duration_s(path)
    except BadAudioError as error:
        return copy(error)  # without its traceback, which would keep the buffers of its frames


class _Block(NamedTuple):
    """Decoded audio: samples `start` to `end` of the recording, and the count of its invalid samples up to `end`."""

    start: int
    end: int
    samples: Samples
    invalid: InvalidSamples


class _Stream:
    """A recording that is decoded in order, and its last `KEPT_S`.

    Attributes:
        path: the recording.
        position: samples that were decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        self._invalid = InvalidSamples()
        self._source = read_blocks(path, str(path), invalid=self._invalid)
        self._kept: deque[_Block] = deque()
        self._dropped = 0  # samples before those kept
        self._fault: AsrEdgeError | None = None

    def has(self, start: int) -> bool:
        """Whether a cut from `start` can be read without decoding from the beginning."""
        return start > self._dropped or not self._dropped

    def read(self, start: int, end: int | None) -> tuple[Samples, InvalidSamples]:
        """Reads a cut; also returns the count of invalid samples in the blocks up to its end.

        Raises:
            BadAudioError: as `read_blocks`, if the error is before the end of the cut.
        """
        found = []
        invalid = self._invalid
        for block in self._blocks():
            if block.end > start:
                last = None if end is None else max(0, end - block.start)
                found.append(block.samples[max(0, start - block.start) : last])
            if end is not None and block.end >= end:
                invalid = block.invalid
                break
        return np.concatenate(found) if found else np.zeros(0, np.float32), copy(invalid)

    def close(self) -> None:
        """Closes the file."""
        self._source.close()

    def _blocks(self) -> Iterator[_Block]:
        """The blocks that are kept, and those that follow."""
        yield from tuple(self._kept)
        if self._fault is not None:
            raise copy(self._fault) from self._fault
        try:
            for samples in self._source:
                block = _Block(self.position, self.position + len(samples), samples, copy(self._invalid))
                self.position = block.end
                self._kept.append(block)
                while self.position - self._kept[0].end > KEPT_S * SAMPLE_RATE:
                    self._dropped = self._kept.popleft().end
                yield block
        except AsrEdgeError as error:
            self._fault = copy(error)
            raise


def _seek(path: Path, start: int, end: int | None, invalid: InvalidSamples) -> Samples | None:
    """Reads a cut by seeking to just before it; None if that fails."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            convert = Converter(file.samplerate, str(path))
            # A whole number of samples at both rates, so that the result does not depend on where reading begins.
            common = math.gcd(file.samplerate, SAMPLE_RATE)
            periods = max(0, start - MARGIN) // (SAMPLE_RATE // common)
            begin = periods * (SAMPLE_RATE // common)
            file.seek(periods * (file.samplerate // common))

            def blocks() -> Iterator[Samples]:
                while len(block := file.read(file.samplerate, dtype="float32", always_2d=True)):
                    yield convert(invalid.replaced(block))
                yield convert.finish()

            return _between(blocks(), start - begin, None if end is None else end - begin)
    except (OSError, BadAudioError, soundfile.LibsndfileError):
        return None


def _between(blocks: Iterator[Samples], start: int, end: int | None) -> Samples:
    """Samples `start` to `end` of a stream; stops reading at `end`."""
    found: list[Samples] = []
    at = 0
    for block in blocks:
        if at + len(block) > start:
            found.append(block[max(0, start - at) : None if end is None else max(0, end - at)])
        at += len(block)
        if end is not None and at >= end:
            break
    return np.concatenate(found) if found else np.zeros(0, np.float32)
