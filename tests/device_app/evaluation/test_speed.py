"""Speed: which parts of the recordings are measured, without a model."""

from types import SimpleNamespace

import numpy as np
import pytest

from device_app.audio.samples import SAMPLE_RATE
from device_app.evaluation import speed
from editing.errors import BadInputError


class SilentTranscriber:
    """Recognises nothing, and never ends an utterance."""

    def transcribe(self, _audio, _rate):
        return None

    def stream(self, settings):
        return SimpleNamespace(feed=lambda _block: [])


@pytest.mark.parametrize(("seconds", "expected"), [(10, [0, 5, 0]), (12, [0, 5, 0]), (20, [0, 5, 10])])
def test_each_repeat_measures_another_part_of_the_speech(monkeypatch, seconds, expected):
    starts = []

    def latencies(_transcriber, speech, _settings):
        assert len(speech) == speed.LIVE_S * SAMPLE_RATE
        starts.append(round(float(speech[0]) / SAMPLE_RATE))
        return [0.1]

    monkeypatch.setattr(speed, "end_of_speech_latencies", latencies)
    done = []
    recording = np.arange(seconds * SAMPLE_RATE, dtype=np.float32)
    speed.measure(SilentTranscriber(), [recording], 3, lambda: done.append(1))
    assert starts == expected
    assert len(done) == speed.steps(3)


def test_recordings_without_speech_are_an_error(monkeypatch):
    monkeypatch.setattr(speed.time, "sleep", lambda _seconds: None)
    with pytest.raises(BadInputError, match="no speech in the recordings"):
        speed.measure(SilentTranscriber(), [np.zeros(10 * SAMPLE_RATE, np.float32)], 1, lambda: None)
