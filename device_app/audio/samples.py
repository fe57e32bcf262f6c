"""Converts audio of any format, sampling rate and channel count to mono float32 at 16 kHz, and encodes FLAC."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Generator
from pathlib import Path, PurePath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from device_app.audio import decoding, media
from editing.errors import BadAudioError, IncompleteAudioError, InvalidSamplesError, one_line
from editing.ranges import Range

Samples = NDArray[np.float32]  # mono audio, shape (samples,)

SAMPLE_RATE = 16_000
SAMPLE_RATES = Range(1_000, 1_000_000)  # in Hz
MINIMUM_S = 0.1  # from shorter audio, the encoder computes no frame
BLOCK_S = 1.0  # audio that is decoded and converted at a time
MAX_FLOAT_SAMPLE = 32.0  # 30 dB above full scale; larger floats are 16-bit samples that were not divided by 32768
MAX_INVALID_FRACTION = 0.01  # of the samples of a file; a file with more invalid ones is refused as damaged
MAX_VALID = 2.0**31  # full scale of 32-bit integers; a larger float is damage, not a sample of any width
MIN_POWER_RATIO = 0.05  # power of the channels' average to that of the loudest; below it, the channels cancel out
PIECE_S = 0.05  # channels that cancel out in a part of a block are found in pieces of this length
SIMILAR_POWER = 0.8  # of the loudest channel: a channel with more counts as equally loud
MAX_CHANNELS = 32  # an array with more channels than this, and than samples, is (channels, samples)

# By these, recordings are found in a folder; a file named on the command line is always tried.
SUFFIXES = media.SUFFIXES | frozenset(
    {
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".mp2",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".caf",
        ".w64",
        ".rf64",
        ".spx",
    }
)


class InvalidSamples:
    """Counts invalid samples (NaN, infinite, or above `MAX_VALID`) in the blocks of a file, and replaces them by 0."""

    def __init__(self) -> None:
        self._count = 0
        self._total = 0

    def replaced(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Counts the invalid samples of the next block, of any shape; returns the block with 0 for each of them."""
        self._total += block.size
        is_valid = np.abs(block) <= MAX_VALID  # False for NaN
        if is_valid.all():
            return block
        self._count += block.size - int(np.count_nonzero(is_valid))
        return np.where(is_valid, block, np.float32(0))

    def message(self, name: str) -> str | None:
        """Says how many samples were replaced; None if none was.

        Raises:
            BadAudioError: more than `MAX_INVALID_FRACTION` of the samples are invalid.
        """
        if self._count > MAX_INVALID_FRACTION * self._total:
            raise BadAudioError(
                f"{name}: {self._count / self._total:.0%} of the samples are not numbers (NaN or infinite); "
                "record or convert it again"
            )
        of_all = f"{self._count:,} of {self._total:,} samples"
        are_invalid = (
            "is no number (NaN or infinite) and was"
            if self._count == 1
            else "are no numbers (NaN or infinite) and were"
        )
        return f"{name}: {of_all} {are_invalid} read as 0" if self._count else None


def read_blocks(
    source: Path | IO[bytes], name: str, block_s: float = BLOCK_S, invalid: InvalidSamples | None = None
) -> Generator[Samples, None, None]:
    """Reads a file as 16 kHz mono, a block at a time, so that memory use does not grow with its length.

    Args:
        source: a path, or a seekable binary stream.
        name: what to call it in errors.
        block_s: seconds in a block, before resampling.
        invalid: counts the invalid samples, for the caller to check; if None, they are an error after the last block.

    Yields:
        Arrays of shape (samples,); together they are the whole recording.

    Raises:
        BadAudioError: it is missing, empty, not audio, or shorter than 0.1 s; or its rate is not 1000 Hz to 1 MHz.
        IncompleteAudioError: it is damaged or cut off, or a few samples are no numbers (`InvalidSamplesError`); raised
            after all that could be read.
    """
    counter = InvalidSamples() if invalid is None else invalid
    convert: Converter | None = None
    length_s = 0.0
    fault: IncompleteAudioError | None = None
    try:
        for block, sample_rate in decoding.decoded(source, name, block_s):
            if convert is None or convert.sample_rate != sample_rate:  # as in joined files
                if convert is not None:
                    yield convert.finish()
                convert = Converter(sample_rate, name)
            length_s += len(block) / sample_rate
            yield convert(counter.replaced(block))
    except IncompleteAudioError as error:
        fault = error
    if convert is not None:
        yield convert.finish()
    if fault is not None:
        raise fault
    check_length(length_s, name)
    if invalid is None and (message := counter.message(name)) is not None:
        raise InvalidSamplesError(message)


def duration_s(path: Path) -> float:
    """Seconds of audio in the file, by its structure and header, which may be wrong; 0 if it does not say.

    Raises:
        BadAudioError: as `read_blocks`.
    """
    return decoding.duration_s(path)


def is_apple_double(name: str) -> bool:
    """Whether a file has the name of an AppleDouble file of macOS (`._NAME`), which has only metadata of another."""
    return name.startswith("._")


def is_recording(path: Path) -> bool:
    """Whether a file is audio by its suffix or by its content, damaged or not."""
    return path.suffix.lower() in SUFFIXES or decoding.is_audio(path)


def read(path: Path, on_repair: Callable[[str], None] = lambda _message: None) -> Samples:
    """The whole file as 16 kHz mono, (samples,).

    Args:
        path: the file.
        on_repair: called with a message if a few samples are no numbers, and were read as 0.

    Raises:
        BadAudioError: as `read_blocks`, or too many samples are no numbers.
    """
    invalid = InvalidSamples()
    audio = np.concatenate(list(read_blocks(path, str(path), invalid=invalid)))
    if (message := invalid.message(str(path))) is not None:
        on_repair(message)
    return audio


def encode(audio: Samples) -> bytes:
    """A FLAC file, 16 bits, of audio (samples,) at 16 kHz; what exceeds full scale is clipped."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(audio, -1, 1), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


class Converter:
    """Converts successive blocks of one recording to 16 kHz mono; the resampler keeps its state between them."""

    def __init__(self, sample_rate: float, name: str = "audio") -> None:
        """
        Raises:
            BadAudioError: the rate is not 1000 Hz to 1 MHz.
        """
        if sample_rate not in SAMPLE_RATES:
            shown = one_line(repr(sample_rate), 60)
            raise BadAudioError(f"{name}: the sampling rate is {shown}; expected {SAMPLE_RATES.expected} (Hz)")
        self.sample_rate = sample_rate
        self._name = name
        self._resampler = None
        if sample_rate != SAMPLE_RATE:
            import soxr

            self._resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32")

    def __call__(self, block: NDArray[Any]) -> Samples:
        """Converts a block: (samples,) or (samples, channels), floats in -1..1, int16 or int32; returns (samples,).

        Raises:
            BadAudioError: samples are NaN or infinite, or of a type that is not audio.
        """
        mono = as_mono(block, self._name, round(self.sample_rate * PIECE_S))
        return mono if self._resampler is None else self._resampler.resample_chunk(mono)

    def finish(self) -> Samples:
        """Returns the last samples, (samples,), which the resampler has delayed. No block may follow."""
        empty = np.zeros(0, np.float32)
        return empty if self._resampler is None else self._resampler.resample_chunk(empty, last=True)


def as_mono(audio: NDArray[Any], name: str = "audio", piece: int = round(SAMPLE_RATE * PIECE_S)) -> Samples:
    """(samples,) or (samples, channels) of floats in -1..1, int16 or int32 -> (samples,) float32.

    Args:
        audio: the samples.
        name: what to call it in errors.
        piece: samples in a part of it that is examined for channels that cancel out.

    Raises:
        BadAudioError: NaN, infinite, floats of the size of integers, of another type or another number of axes.
    """
    audio = np.asarray(audio)
    if audio.ndim not in (1, 2):
        raise BadAudioError(
            f"{name}: has the shape {audio.shape}; expected an array of shape (samples,) or (samples, channels)"
        )
    if audio.dtype.newbyteorder("=") in (np.int16, np.int32):
        audio = audio / np.float32(-float(np.iinfo(audio.dtype).min))
    elif not np.issubdtype(audio.dtype, np.floating):
        raise BadAudioError(
            f"{name}: samples of type {audio.dtype}; expected floats in -1..1, int16 or int32" + _remedy(audio.dtype)
        )
    mono = (audio if audio.ndim == 1 else _mixed(audio, piece)).astype(np.float32, copy=False)
    if not np.isfinite(mono).all():
        raise BadAudioError(
            f"{name}: contains samples that are not numbers (NaN or infinite); record or convert it again"
        )
    peak = float(np.abs(mono).max(initial=0))
    if peak > MAX_FLOAT_SAMPLE:
        raise BadAudioError(
            f"{name}: float samples of up to {peak:.0f}; expected -1..1. Divide 16-bit samples by 32768"
        )
    return mono


def _remedy(dtype: np.dtype[Any]) -> str:
    """How to convert samples of a type that `as_mono` refuses, to end its message with."""
    if dtype.kind == "u":
        half = 1 << (8 * dtype.itemsize - 1)
        return f". Convert unsigned samples with (samples - {half}.0) / {half}"
    if dtype.kind == "i" and dtype.itemsize > 1:
        return ". Convert 16-bit samples of another type with numpy.asarray(samples, numpy.int16)"
    return ""


def check_scale(audio: NDArray[Any], name: str = "audio") -> None:
    """Refuses a whole recording of 32-bit integers that are 16-bit samples: at full scale of 32 bits they are silence.

    Raises:
        BadAudioError: they are.
    """
    peak = int(np.abs(audio.astype(np.int64)).max(initial=0)) if audio.dtype == np.int32 else 0
    if 0 < peak <= 1 << 15:
        raise BadAudioError(
            f"{name}: int32 samples of up to {peak}, where full scale is 2147483648. "
            "Convert 16-bit samples with numpy.asarray(samples, numpy.int16)"
        )


def as_array(audio: object, name: str = "audio") -> NDArray[Any]:
    """Audio from a caller as an array whose first axis is time. `as_mono` checks its values.

    Raises:
        BadAudioError: it is something else, such as a list, bytes or a path, or of the shape (channels, samples).
    """
    hint = ""
    if isinstance(audio, list | tuple):  # numpy would guess its type, which is int64 for 16-bit samples
        hint = "; convert floats in -1..1 with numpy.asarray(audio, numpy.float32), 16-bit samples with numpy.int16"
    if isinstance(audio, bytes | bytearray | memoryview):
        hint = "; convert 16-bit samples with numpy.frombuffer(audio, numpy.int16)"
    elif isinstance(audio, str | PurePath):
        hint = "; transcribe_file reads files"
    if hint or audio is None:
        kind = "None" if audio is None else type(audio).__name__
        raise BadAudioError(f"{name}: {kind} instead of an array{hint}")
    array = np.asarray(audio)
    if array.ndim == 2 and not array.shape[1]:
        raise BadAudioError(f"{name}: has the shape {array.shape}, which is without channels")
    if array.ndim == 2 and array.shape[1] > max(array.shape[0], MAX_CHANNELS):
        raise BadAudioError(
            f"{name}: has the shape {array.shape}, which is {array.shape[0]} samples of {array.shape[1]} channels; "
            "expected (samples, channels). Transpose (channels, samples) with audio.T"
        )
    return array


def _mixed(audio: NDArray[Any], piece: int) -> NDArray[Any]:
    """Averages the channels; takes the loudest if they cancel out (opposite phase) or most are silent.

    In a block in which they cancel out only at times, the same is done for each of its pieces of `piece` samples.
    """
    mean: NDArray[Any] = audio.mean(axis=1)
    if audio.shape[1] < 2 or not len(audio):
        return mean
    loudest = _loudest_if_cancelled(audio[None], mean[None])[0]
    if loudest >= 0:
        return audio[:, loudest]
    count = len(audio) // piece
    pieces = audio[: count * piece].reshape(count, piece, audio.shape[1])
    averages = mean[: count * piece].reshape(count, piece)  # a view: what is written to it changes `mean`
    chosen = _loudest_if_cancelled(pieces, averages)
    for index in np.flatnonzero(chosen >= 0):
        averages[index] = pieces[index, :, chosen[index]]
    return mean


def _loudest_if_cancelled(pieces: NDArray[Any], averages: NDArray[Any]) -> NDArray[np.intp]:
    """The loudest channel of each piece in which the average of the channels is far less loud; -1 for the others.

    Loudness is the variance, so that the constant offset of a cheap sound card does not count as sound.

    Args:
        pieces: (pieces, samples, channels).
        averages: (pieces, samples), of the channels.
    """
    powers = pieces.var(axis=1, dtype=np.float64)
    loudest = powers.max(axis=1)
    is_cancelled = averages.var(axis=1, dtype=np.float64) < MIN_POWER_RATIO * loudest  # False where samples are NaN
    # The first of the loudest channels, so that all blocks choose the same one: a change to a channel of opposite phase
    # would invert the phase within the recording.
    return np.where(is_cancelled, np.argmax(powers >= SIMILAR_POWER * loudest[:, None], axis=1), -1)


def check_length(seconds: float, name: str = "audio") -> None:
    """Checks that there is enough audio.

    Raises:
        BadAudioError: there is less than 0.1 s.
    """
    if seconds == 0:
        raise BadAudioError(f"{name}: contains no audio")
    if seconds < MINIMUM_S:
        raise BadAudioError(f"{name}: {seconds:.3f} s is too short; at least {MINIMUM_S:g} s are needed")


def to_model_rate(audio: NDArray[Any], sample_rate: float, name: str = "audio") -> Samples:
    """Converts a whole recording in memory to 16 kHz mono.

    Args:
        audio: (samples,) or (samples, channels), floats in -1..1, int16 or int32.
        sample_rate: in Hz.
        name: what to call it in errors.

    Raises:
        BadAudioError: as `Converter`, or there is less than 0.1 s.
    """
    convert = Converter(sample_rate, name)
    audio = np.asarray(audio)
    as_mono(audio[:1] if audio.ndim else audio, name)  # refuses a wrong type or shape before `len` is used
    check_length(len(audio) / sample_rate, name)
    size = round(sample_rate * BLOCK_S)
    blocks = [convert(audio[start : start + size]) for start in range(0, len(audio), size)]
    return np.concatenate([*blocks, convert.finish()])


def add_noise(audio: Samples, noise: Samples, snr_db: float) -> Samples:
    """Adds noise to audio.

    Args:
        audio, noise: (samples,) each; the noise has unit power.
        snr_db: signal-to-noise ratio of the result in dB.
    """
    level = float(np.sqrt(np.mean(np.square(audio)))) * 10 ** (-snr_db / 20)
    return audio + noise * np.float32(level)


def level_dbfs(block: Samples) -> float:
    """Loudness (RMS) of a block in dB below full scale; silence is -inf."""
    power = float(np.mean(np.square(block, dtype=np.float64))) if len(block) else 0.0
    return 10 * math.log10(power) if power > 0 else -math.inf
