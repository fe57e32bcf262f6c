"""Takes that the browser sends, with a transcriber that only gives its own name."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from device_app.audio.samples import SAMPLE_RATE
from device_app.data.store import Store
from device_app.recording.session import RecordingSession
from device_app.service.page.takes import Takes
from editing.errors import BadAudioError


class NamedTranscriber:
    def __init__(self, name="any"):
        self.name = name

    def transcribe(self, _audio, _rate):
        return SimpleNamespace(segments=[], confidence=1.0, words=[self.name])


def wav(audio, kind="WAV"):
    file = io.BytesIO()
    soundfile.write(file, audio, SAMPLE_RATE, format=kind)
    return file.getvalue()


def test_a_take_is_recognised_again_by_another_model_even_at_the_address_of_the_first():
    takes, audio = Takes(), wav(np.zeros(SAMPLE_RATE, np.float32))
    first = NamedTranscriber("first")
    assert takes.checked(audio, first).words == ["first"]
    first.name = "renamed"
    assert takes.checked(audio, first).words == ["first"]  # remembered
    address = id(first)
    del first
    others = []
    while not others or (id(others[-1]) != address and len(others) < 10_000):
        others.append(NamedTranscriber("second"))
    assert takes.checked(audio, others[-1]).words == ["second"]


def test_a_take_is_recognised_from_the_samples_that_are_stored(prompt, own_home):
    """So that Record and Correct show the same words for a recording."""
    recognised = []

    class Listening(NamedTranscriber):
        def transcribe(self, audio, rate):
            recognised.append((audio, rate))
            return super().transcribe(audio, rate)

    found = Takes().checked(wav(np.pad(prompt, SAMPLE_RATE)), Listening())
    with Store() as store:
        session = RecordingSession(store, "my-speech", None)
        stored = session.save(found.take, None).read()
    ((audio, rate),) = recognised
    assert rate == SAMPLE_RATE
    assert len(audio) < len(prompt) + SAMPLE_RATE
    assert np.array_equal(audio, stored)


def test_a_wav_file_may_have_an_extensible_header(prompt):
    found = [Takes().checked(wav(prompt, kind), NamedTranscriber()).take for kind in ("WAV", "WAVEX")]
    assert np.array_equal(found[0].audio, found[1].audio)
    with pytest.raises(BadAudioError, match="not a WAV file"):
        Takes().checked(wav(prompt, "FLAC"), NamedTranscriber())


def test_a_take_has_at_most_the_speech_of_an_utterance(prompt):
    speech = np.resize(prompt, round(30.9 * SAMPLE_RATE))
    with pytest.raises(BadAudioError, match="30 s is the maximum"):
        Takes().checked(wav(speech), NamedTranscriber())
    with_silence = np.pad(speech[: 29 * SAMPLE_RATE], (SAMPLE_RATE, round(0.9 * SAMPLE_RATE)))
    assert len(Takes().checked(wav(with_silence), NamedTranscriber()).take.audio) <= 30 * SAMPLE_RATE
