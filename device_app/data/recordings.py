"""The form in which the store keeps audio: 16 kHz mono FLAC, with measurements."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np

from device_app.audio.samples import SAMPLE_RATE, Samples, encode, level_dbfs
from device_app.data.utterance import Recording

FULL_SCALE = 0.999
SILENCE_DBFS = -200.0  # stands for minus infinity


def recording_of(audio: Samples, flac: bytes | None = None) -> Recording:
    """Encodes and measures audio.

    Args:
        audio: (samples,) at 16 kHz.
        flac: the same audio as a FLAC file, if there is one already.
    """
    peak = float(np.abs(audio).max(initial=0))
    return Recording(
        flac=encode(audio) if flac is None or not _has_length(flac, len(audio)) else flac,
        duration_s=len(audio) / SAMPLE_RATE,
        level_dbfs=max(level_dbfs(audio), SILENCE_DBFS),
        peak_dbfs=max(20 * math.log10(peak), SILENCE_DBFS) if peak > 0 else SILENCE_DBFS,
        clipped=float(np.mean(np.abs(audio) >= FULL_SCALE)),
    )


def is_stored_form(path: Path) -> bool:
    """Whether a file has the form of the store's own files, so that it can be copied as it is."""
    import soundfile

    try:
        with path.open("rb") as file:
            information = soundfile.info(file)
    except soundfile.LibsndfileError:  # a container that only PyAV or ffmpeg reads
        return False
    form = (information.format, information.subtype, information.samplerate, information.channels)
    return form == ("FLAC", "PCM_16", SAMPLE_RATE, 1)


def _has_length(flac: bytes, samples: int) -> bool:
    """Whether a FLAC file's header gives its true length: not so in joined files, or if a pipe wrote it."""
    import soundfile

    return bool(soundfile.info(io.BytesIO(flac)).frames == samples)
