"""The form in which the store keeps audio: 16 kHz mono FLAC, with measurements."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np

from device_app.audio.samples import SAMPLE_RATE, Samples, encode, level_dbfs
from device_app.data.utterance import Recording

FULL_SCALE = 0.999  # samples from here on count as clipped; 1 is the largest value
SILENCE_DBFS = -200.0  # stands for minus infinity


def recording_of(audio: Samples, flac: bytes | None = None) -> Recording:
    """Encodes and measures audio.

    Args:
        audio: (samples,) at 16 kHz.
        flac: the same audio as a FLAC file, if there is one already. It is kept as it is, unless the length in its
            header is wrong.

    Returns:
        The FLAC file with its duration in seconds, level and peak in dBFS, and the fraction of clipped samples.

    Raises:
        soundfile.LibsndfileError: `flac` is not an audio file.
    """
    peak = float(np.abs(audio).max(initial=0))
    return Recording(
        flac=encode(audio) if flac is None or not _has_length(flac, len(audio)) else flac,
        duration_s=len(audio) / SAMPLE_RATE,
        level_dbfs=max(level_dbfs(audio), SILENCE_DBFS),
        peak_dbfs=max(20 * math.log10(peak), SILENCE_DBFS) if peak > 0 else SILENCE_DBFS,
        clipped=float(np.mean(np.abs(audio) >= FULL_SCALE)),
    )


def as_stored(audio: Samples) -> Samples:
    """The samples that the store gives back for audio (samples,) at 16 kHz: rounded to 16 bits."""
    import soundfile

    samples, _ = soundfile.read(io.BytesIO(encode(audio)), dtype="float32")
    return np.asarray(samples, np.float32)


def is_stored_form(path: Path) -> bool:
    """Whether a file is 16-bit mono FLAC at 16 kHz as in the store, so that it can be copied without re-encoding.

    Raises:
        OSError: the file cannot be read.
    """
    import soundfile

    with path.open("rb") as file:
        if file.read(4) != b"fLaC":
            return False
        file.seek(0)
        try:
            information = soundfile.info(file)
        except soundfile.LibsndfileError:
            return False
    return (information.subtype, information.samplerate, information.channels) == ("PCM_16", SAMPLE_RATE, 1)


def _has_length(flac: bytes, samples: int) -> bool:
    """Whether the header of a FLAC file gives this length. That of joined files, or of a file from a pipe, does not."""
    import soundfile

    return bool(soundfile.info(io.BytesIO(flac)).frames == samples)
