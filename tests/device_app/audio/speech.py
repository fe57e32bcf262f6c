"""Real speech in many formats, and a comparison that survives lossy codecs."""

import io

import numpy as np
import soundfile

from device_app.audio.samples import SAMPLE_RATE, read_blocks, to_model_rate
from device_app.paths import RECORDINGS
from editing.errors import IncompleteAudioError

WINDOW = 800  # samples, 50 ms


def speech(name="ss-noservice"):
    """(samples,) and the sampling rate of a sentence of about 5 s."""
    return soundfile.read(RECORDINGS / f"{name}.flac", dtype="float32")


def encoded(audio, rate, form, subtype=None, **options):
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, rate, format=form, subtype=subtype, **options)
    return buffer.getvalue()


def decoded(data, name="x"):
    """What can be read, (samples,) at 16 kHz, and the message of what is missing."""
    blocks, message = [np.zeros(0, np.float32)], None
    try:
        blocks += read_blocks(io.BytesIO(data), name)
    except IncompleteAudioError as error:
        message = str(error)
    return np.concatenate(blocks), message


def at_model_rate(audio, rate):
    return to_model_rate(audio, rate)


def loudness(audio):
    return np.sqrt(np.square(audio[: len(audio) // WINDOW * WINDOW].reshape(-1, WINDOW)).mean(axis=1))


def is_same(found, expected, tolerance_s=0.15, correlation=0.95, delay_s=0.15):
    """Whether two recordings have the same length and the same loudness over time, apart from a codec's delay."""
    if abs(len(found) - len(expected)) > tolerance_s * SAMPLE_RATE:
        return False
    delays = range(0, round(delay_s * SAMPLE_RATE), WINDOW // 4)
    return any(
        max(correlated(found[delay:], expected), correlated(found, expected[delay:])) > correlation for delay in delays
    )


def correlated(one, other):
    count = min(len(one), len(other)) // WINDOW
    return np.corrcoef(loudness(one)[:count], loudness(other)[:count])[0, 1]
