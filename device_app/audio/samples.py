"""Audio files: any format, rate and channel count -> mono float32 at the model's rate, in blocks; and back to FLAC."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from editing.errors import BadAudioError

Samples = NDArray[np.float32]

SAMPLE_RATE = 16_000
MINIMUM_S = 0.1  # shorter than this the encoder has no frame to give
BLOCK_S = 1.0
LOUDEST_FLOAT = 32.0  # 30 dB above full scale: no recording is so loud, but 16-bit samples are that were not scaled
# Containers whose decoders may count a few samples more or fewer than the header promises.
HEADER_TOLERANCE_S = 0.1

# What libsndfile reads, for walking a folder; a file named on the command line is always tried.
SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64"}
)


def read_blocks(source: Path | IO[bytes], name: str, block_s: float = BLOCK_S) -> Iterator[Samples]:
    """Reads a file as 16 kHz mono, a block at a time, so that memory stays flat.

    Args:
        source: a path, or a seekable binary stream.
        name: what to call it in errors.
        block_s: seconds in a block, before resampling.

    Yields:
        Arrays of shape (samples,); together they are the whole recording.

    Raises:
        BadAudioError: it is missing, empty, not audio, damaged, or shorter than 0.1 s. What was
            yielded before was sound.
    """
    import soundfile

    with _opened(source, name) as file:
        convert = Converter(file.samplerate, name)
        read = 0
        try:
            for block in file.blocks(round(file.samplerate * block_s), dtype="float32", always_2d=True):
                read += len(block)
                yield convert(block)
        except soundfile.LibsndfileError as error:
            raise BadAudioError(
                f"{name}: damaged after {read / file.samplerate:.1f} s ({error.error_string})"
            ) from error
        if read < file.frames - HEADER_TOLERANCE_S * file.samplerate:
            raise BadAudioError(
                f"{name}: damaged or cut off: {read / file.samplerate:.1f} s of "
                f"{file.frames / file.samplerate:.1f} s could be read"
            )
        check_length(read, file.samplerate, name)
        yield convert.finish()


def duration_s(path: Path) -> float:
    """Seconds of audio in the file, from its header.

    Raises:
        BadAudioError: as `read_blocks`.
    """
    with _opened(path, str(path)) as file:
        return float(file.frames / file.samplerate)


def is_recording(path: Path) -> bool:
    """Whether a file is audio by its suffix or by what is in it, damaged or not."""
    import soundfile

    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        return path.stat().st_size > 0 and bool(soundfile.info(path).frames)
    except (OSError, TypeError, soundfile.LibsndfileError):  # TypeError: samples without a header, by its suffix
        return False


def read(path: Path) -> Samples:
    """The whole file as 16 kHz mono, (samples,).

    Raises:
        BadAudioError: as `read_blocks`.
    """
    return np.concatenate(list(read_blocks(path, str(path))))


def encode(audio: Samples) -> bytes:
    """A FLAC file, 16 bits, of audio (samples,) at 16 kHz; what exceeds full scale is clipped."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(audio, -1, 1), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _opened(source: Path | IO[bytes], name: str) -> Any:
    import soundfile

    try:
        if isinstance(source, Path) and source.stat().st_size == 0:
            raise BadAudioError(f"{name}: the file is empty")
        return soundfile.SoundFile(source)
    except OSError as error:
        raise BadAudioError(f"{name}: {error.strerror or error}") from error
    except soundfile.LibsndfileError as error:
        raise BadAudioError(
            f"{name}: not audio that can be read ({error.error_string}); try WAV, FLAC, OGG or MP3"
        ) from error


class Converter:
    """Blocks of any rate and channel count -> 16 kHz mono, with the resampler's memory kept."""

    def __init__(self, sample_rate: float, name: str = "audio") -> None:
        """
        Raises:
            BadAudioError: the rate is not one that audio has.
        """
        if not 1_000 <= sample_rate <= 1_000_000:
            raise BadAudioError(f"{name}: a sampling rate of {sample_rate:g} Hz cannot be used")
        self._name = name
        self._resampler = None
        if sample_rate != SAMPLE_RATE:
            import soxr

            self._resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32")

    def __call__(self, block: NDArray[Any]) -> Samples:
        """One block, (samples,) or (samples, channels), floats in -1..1, int16 or int32.

        Raises:
            BadAudioError: samples are NaN or infinite, or of a type that is not audio.
        """
        mono = as_mono(block, self._name)
        return mono if self._resampler is None else self._resampler.resample_chunk(mono)

    def finish(self) -> Samples:
        """What the resampler still holds; after it no block may follow."""
        empty = np.zeros(0, np.float32)
        return empty if self._resampler is None else self._resampler.resample_chunk(empty, last=True)


def as_mono(audio: NDArray[Any], name: str = "audio") -> Samples:
    """(samples,) or (samples, channels) of floats in -1..1, int16 or int32 -> (samples,) float32.

    Raises:
        BadAudioError: NaN, infinite, floats of the size of integers, of another type or another number of axes.
    """
    audio = np.asarray(audio)
    if audio.ndim not in (1, 2):
        raise BadAudioError(f"{name}: expected (samples,) or (samples, channels), not {audio.ndim} axes")
    if audio.dtype in (np.int16, np.int32):
        audio = audio / np.float32(-float(np.iinfo(audio.dtype).min))
    elif not np.issubdtype(audio.dtype, np.floating):
        raise BadAudioError(
            f"{name}: samples of type {audio.dtype}; expected floats in -1..1, int16 or int32. "
            "Of 16-bit samples in another type: numpy.asarray(samples, numpy.int16)"
        )
    mono = (audio if audio.ndim == 1 else audio.mean(axis=1)).astype(np.float32, copy=False)
    if not np.isfinite(mono).all():
        raise BadAudioError(f"{name}: holds samples that are not numbers (NaN or infinite); record or convert it again")
    peak = float(np.abs(mono).max(initial=0))
    if peak > LOUDEST_FLOAT:
        raise BadAudioError(
            f"{name}: float samples of up to {peak:.0f}; expected -1..1. Divide 16-bit samples by 32768"
        )
    return mono


def check_length(samples: int, sample_rate: float, name: str = "audio") -> None:
    """
    Raises:
        BadAudioError: there is less than 0.1 s.
    """
    if samples == 0:
        raise BadAudioError(f"{name}: holds no audio")
    if samples < MINIMUM_S * sample_rate:
        raise BadAudioError(f"{name}: {samples / sample_rate:.3f} s is too short; {MINIMUM_S:g} s is the least")


def to_model_rate(audio: NDArray[Any], sample_rate: float, name: str = "audio") -> Samples:
    """A whole recording in memory -> 16 kHz mono.

    Raises:
        BadAudioError: as `Converter`, or there is less than 0.1 s.
    """
    convert = Converter(sample_rate, name)
    converted = convert(audio)
    check_length(len(np.asarray(audio)), sample_rate, name)
    return np.concatenate([converted, convert.finish()])


def in_noise(audio: Samples, noise: Samples, snr_db: float) -> Samples:
    """Adds noise of unit power, (samples,) as the audio, so many dB below it."""
    level = float(np.sqrt(np.mean(np.square(audio)))) * 10 ** (-snr_db / 20)
    return audio + noise * np.float32(level)


def level_dbfs(block: Samples) -> float:
    """Loudness (RMS) of a block in dB below full scale; silence is -inf."""
    power = float(np.mean(np.square(block, dtype=np.float64))) if len(block) else 0.0
    return 10 * math.log10(power) if power > 0 else -math.inf
