import numpy as np
import pytest

from device_app.audio.margins import MARGIN_S, with_margins
from device_app.audio.samples import SAMPLE_RATE

MARGIN = round(MARGIN_S * SAMPLE_RATE)


@pytest.fixture
def tone():
    time_s = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * 200 * time_s)).astype(np.float32)


def pause(seconds):
    return np.full(round(seconds * SAMPLE_RATE), 1e-4, np.float32)


@pytest.mark.parametrize(
    ("before_s", "after_s", "added"), [(0, 0, (1, 1)), (0.3, 0, (0, 1)), (0, 0.3, (1, 0)), (0.1, 0.1, (1, 1))]
)
def test_a_margin_is_added_where_there_is_no_pause(tone, before_s, after_s, added):
    audio = np.concatenate([pause(before_s), tone, pause(after_s)])
    found, before = with_margins(audio)
    assert before == added[0] * MARGIN
    assert len(found) == len(audio) + sum(added) * MARGIN
    np.testing.assert_array_equal(found[before : before + len(audio)], audio)


def test_speech_with_pauses_is_left_as_it_is(tone):
    audio = np.concatenate([pause(0.3), tone, pause(0.3)])
    found, before = with_margins(audio)
    assert before == 0
    np.testing.assert_array_equal(found, audio)


@pytest.mark.parametrize("gain", [1.0, 0.01])
def test_the_noise_is_faint_against_the_speech_and_the_same_each_time(tone, gain):
    found, before = with_margins(tone * np.float32(gain))
    noise = found[:before]
    assert 20 * np.log10(noise.std() / (tone.std() * gain)) == pytest.approx(-25, abs=0.5)
    np.testing.assert_array_equal(found, with_margins(tone * np.float32(gain))[0])


@pytest.mark.parametrize("samples", [0, 1, 159, 1600])
def test_silence_gets_no_margin(samples):
    assert with_margins(np.zeros(samples, np.float32))[1] == 0
    assert len(with_margins(np.zeros(samples, np.float32))[0]) == samples
