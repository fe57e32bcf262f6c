"""Plays recordings back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from device_app.audio.microphone import portaudio
from device_app.audio.samples import SAMPLE_RATE, Samples
from editing.errors import MicrophoneError


@contextmanager
def playing(audio: Samples) -> Iterator[Any]:
    """Plays audio, (samples,) at 16 kHz, in the background; on leaving, it stops.

    Yields sounddevice's stream, whose `active` says whether it is still playing.

    Raises:
        MicrophoneError: there is no output device, or PortAudio is not installed.
    """
    import soxr

    sounddevice = portaudio()
    try:
        rate = sounddevice.query_devices(kind="output")["default_samplerate"]
        sounddevice.play(soxr.resample(audio, SAMPLE_RATE, rate), rate)
    except (ValueError, sounddevice.PortAudioError) as error:
        raise MicrophoneError(f"nothing can be played here ({error}); are loudspeakers connected?") from error
    try:
        yield sounddevice.get_stream()
    finally:
        sounddevice.stop()
