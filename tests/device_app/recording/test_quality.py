"""Quality problems of a real recording with synthetic defects, and of real read speech without."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from device_app.audio.samples import SAMPLE_RATE, read
from device_app.audio.vad import VoiceActivity
from device_app.data.manifest import read_manifest
from device_app.paths import RECORDINGS
from device_app.recording.quality import Quality, clipped_fraction, measure, problems


@pytest.fixture(scope="module")
def voice():
    return VoiceActivity()


@pytest.fixture
def found(voice):
    """Returns the problems of audio as one text."""
    return lambda audio, *texts: " ".join(problems(measure(audio, SAMPLE_RATE, voice)[1], *texts))


def rms(audio):
    return np.sqrt(np.mean(np.square(audio)))


def test_a_clean_recording_has_no_problems(prompt, found):
    assert found(prompt) == ""


def test_silence_around_speech_is_trimmed_to_a_margin(prompt, noise, voice):
    padded = np.concatenate([noise(2.0, -70), prompt, noise(3.0, -70)])
    audio, quality = measure(padded, SAMPLE_RATE, voice)
    assert len(audio) / SAMPLE_RATE == pytest.approx(quality.speech_s + 0.6, abs=0.05)
    assert quality.speech_s <= len(prompt) / SAMPLE_RATE


@pytest.mark.parametrize("gain", [1.0, 0.1])
def test_clipping_of_a_thousandth_of_the_samples_is_detected_at_any_level(prompt, found, gain):
    top = np.quantile(np.abs(prompt), 0.999)
    assert "clipped" in found(np.clip(prompt, -top, top) * gain)


def test_clipping_is_measured_at_the_sampling_rate_of_the_device(prompt, voice):
    top = np.quantile(np.abs(prompt), 0.999)
    at_48k = np.repeat(np.clip(prompt, -top, top), 3)
    assert measure(at_48k, 48_000, voice)[1].clipped == pytest.approx(0.001, rel=0.2)


def test_clipping_of_one_polarity_is_detected():
    noise = np.clip(np.random.default_rng(0).standard_normal(SAMPLE_RATE) / 5, -1, 1).astype(np.float32)
    assert clipped_fraction(noise) < 0.0002
    assert clipped_fraction(np.minimum(noise, 0.6)) > 0.001


def test_quiet_speech_is_detected(prompt, found):
    assert "too quiet" in found(prompt * 10 ** (-45 / 20) / rms(prompt))


def test_babble_at_5_db_is_detected(prompt, reading, found):
    babble = sum(np.roll(reading, shift * 3 * SAMPLE_RATE)[: len(prompt)] for shift in range(8))
    noisy = prompt + babble * rms(prompt) / rms(babble) * 10 ** (-5 / 20)
    assert "noisy" in found(noisy)


def test_a_word_cut_off_at_either_end_is_detected(prompt, voice, found):
    middle = (
        len(prompt) // 4
        + int(np.argmax([rms(prompt[i : i + 800]) for i in range(len(prompt) // 4, 40_000, 800)])) * 800
    )
    assert "the end is cut off" in found(prompt[:middle])
    assert "the start is cut off" in found(prompt[middle:])


def test_missing_speech_is_detected(noise, found):
    assert found(noise(2.0)).startswith("no speech was found")
    assert found(np.zeros(SAMPLE_RATE, np.float32)).startswith("no speech was found")


def test_a_long_text_in_a_short_time_is_too_short(prompt, found):
    assert "too short" in found(prompt, "word " * 40)


FINE = Quality(clipped=0.0, level_dbfs=-20.0, snr_db=40.0, speech_s=3.0, cut_start=False, cut_end=False)


@pytest.mark.parametrize(
    ("hypothesis", "is_flagged"),
    [
        ("The fox slipped through a hole in the garden fence.", False),
        ("the fog slipped through the hole in a garden fans", False),
        ("Keep the change and thank you.", True),
        ("", True),
    ],
)
def test_a_hypothesis_that_differs_from_the_prompt_is_a_problem(hypothesis, is_flagged):
    found = problems(FINE, "The fox slipped through a hole in the garden fence.", hypothesis)
    assert any("the recognised text is very different" in problem for problem in found) == is_flagged


def test_embedded_recordings_have_no_problems(voice, noise):
    for path in RECORDINGS.glob("*.flac"):
        take = np.concatenate([noise(1.0, -70), read(path), noise(1.0, -70)])  # with silence, as from the recorder
        assert problems(measure(take, SAMPLE_RATE, voice)[1]) == [], path


@pytest.mark.slow
@pytest.mark.corpus
def test_read_speech_has_no_problems(corpus, voice, transcriber):
    entries = read_manifest(corpus("read-speech"))
    for entry in entries:
        samples, rate = soundfile.read(entry.audio, dtype="float32")
        _, quality = measure(samples, rate, voice)
        hypothesis = transcriber.transcribe(samples, rate).text
        assert problems(quality, entry.text, hypothesis) == [], entry.audio


def test_a_text_without_spaces_takes_longer_than_as_many_letters():
    text = "\u4eca\u65e5\u306f\u6674\u308c" * 12
    assert any("too short" in problem for problem in problems(replace(FINE, speech_s=3.0), text))
    assert not any("too short" in problem for problem in problems(replace(FINE, speech_s=3.0), "a" * len(text)))
