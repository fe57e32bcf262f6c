"""Reads a cut: the part of a recording that `offset` and `duration` in a manifest select."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from device_app.audio.samples import (
    MINIMUM_S,
    SAMPLE_RATE,
    Converter,
    InvalidSamples,
    Samples,
    duration_s,
    read_blocks,
)
from editing.errors import BadAudioError, BadInputError

# In samples at 16 kHz. Durations in manifests are rounded, often to 0.1 s, and those of MP3 headers are up to 0.1 s
# wrong; 0.25 s is more than both together.
TOLERANCE = SAMPLE_RATE // 4
MARGIN = SAMPLE_RATE // 4  # samples at 16 kHz that are read before a cut, so that the resampler has settled
EXACT_FORMATS = frozenset({"FLAC", "WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"})  # seeking is sample-exact


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
    """Reads a cut as 16 kHz mono, (samples,). Memory holds only the cut, not the whole recording.

    Args:
        path: the recording.
        start, end: in samples at 16 kHz; None is the end of the recording.
        on_repair: as for `device_app.audio.samples.read`.

    Raises:
        BadAudioError: the recording cannot be read, or the cut is outside it or shorter than 0.1 s.
    """
    invalid = InvalidSamples()
    cut = _seek(path, start, end, invalid)
    if cut is None:
        invalid = InvalidSamples()
        cut = _between(read_blocks(path, str(path), invalid=invalid), start, end)
    if (message := invalid.message(str(path))) is not None:
        on_repair(message)
    found_s, start_s = len(cut) / SAMPLE_RATE, start / SAMPLE_RATE
    if end is not None and end - start - len(cut) > TOLERANCE:
        expected_s = (end - start) / SAMPLE_RATE
        raise BadAudioError(f"{path}: has {found_s:.3f} s of audio after {start_s:.3f} s; expected {expected_s:.3f} s")
    if len(cut) < MINIMUM_S * SAMPLE_RATE:
        raise BadAudioError(
            f"{path}: the part from {start_s:.3f} s has {found_s:.3f} s of audio; at least {MINIMUM_S:g} s are needed"
        )
    return cut


def _seek(path: Path, start: int, end: int | None, invalid: InvalidSamples) -> Samples | None:
    """Reads a cut by seeking to just before it; None where the format or the header does not allow that.

    libsndfile seeks within the length that the header declares, which is wrong in joined and unfinished files.
    """
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            if file.format not in EXACT_FORMATS or not file.seekable():
                return None
            if abs(file.frames - duration_s(path) * file.samplerate) > 1:
                return None
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
