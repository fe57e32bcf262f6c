import numpy as np
import pytest

from device_app.audio.samples import SAMPLE_RATE, read
from device_app.audio.vad import (
    FRAME,
    FRAME_S,
    ONSET,
    Segmenter,
    SegmentSettings,
    VoiceActivity,
    VoiceState,
    best_pause,
)
from device_app.paths import RECORDINGS


@pytest.fixture(scope="module")
def voice():
    return VoiceActivity()


class Scripted:
    """Stands in for the network where a test is about the segmenter: a frame is speech if it is not 0."""

    def start(self):
        return None

    def __call__(self, frames, state):
        return (np.abs(frames).max(axis=1) > 0).astype(np.float32)


def speech(seconds):
    return np.full(round(seconds / FRAME_S) * FRAME, 0.1, np.float32)


def silence(seconds):
    return np.zeros(round(seconds / FRAME_S) * FRAME, np.float32)


def segments(audio, voice=None, block=FRAME, **settings):
    segmenter = Segmenter(voice or Scripted(), SegmentSettings(**settings))
    found = []
    for start in range(0, len(audio), block):
        found += segmenter.feed(audio[start : start + block])
    return [*found, *segmenter.finish()]


def test_probabilities_do_not_depend_on_the_blocks(voice, prompt):
    frames = prompt[: len(prompt) // FRAME * FRAME].reshape(-1, FRAME)
    whole = voice(frames, voice.start())
    state = voice.start()
    single = np.concatenate([voice(frame[None], state) for frame in frames])
    np.testing.assert_allclose(single, whole, atol=1e-5)


def test_speech_is_distinguished_from_silence_and_noise(voice, prompt, noise):
    quiet = noise(2.0, dbfs=-50)
    padding = -len(prompt) % FRAME
    audio = np.concatenate([quiet, prompt, np.zeros(padding, np.float32), quiet])
    found = segments(audio, voice, silence_s=1.0)
    assert len(found) == 1
    assert found[0].start_s == pytest.approx(2.0 - 0.3, abs=0.25)
    assert found[0].end_s == pytest.approx(2.0 + len(prompt) / SAMPLE_RATE + 0.3, abs=0.5)


@pytest.mark.parametrize("dbfs", [-120, -60, -40, -20])
def test_noise_at_any_level_is_no_speech(voice, noise, dbfs):
    assert segments(noise(10, dbfs), voice) == []


def test_a_segment_has_its_padding_and_its_place():
    audio = np.concatenate([silence(1.0), speech(1.0), silence(2.0), speech(0.5), silence(1.0)])
    first, second = segments(audio, padding_s=0.32, silence_s=0.5)
    assert (first.start_s, second.start_s) == pytest.approx((0.992 - 0.32, 3.968 - 0.32), abs=FRAME_S)
    assert len(first.audio) / SAMPLE_RATE == pytest.approx(1.0 + 2 * 0.32, abs=2 * FRAME_S)


def test_segments_do_not_depend_on_the_blocks():
    audio = np.concatenate([silence(0.7), speech(1.0), silence(0.7), speech(2.0), silence(0.2), speech(1.0)])
    expected = segments(audio)
    for block in (1, 100, FRAME + 1, 5000, len(audio)):
        found = segments(audio, block=block)
        assert [s.start_s for s in found] == [s.start_s for s in expected]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.audio, other.audio)


def test_a_shorter_pause_does_not_end_a_segment():
    audio = np.concatenate([speech(1.0), silence(0.4), speech(1.0)])
    assert len(segments(audio, silence_s=0.5)) == 1
    assert len(segments(audio, silence_s=0.3)) == 2


def test_a_click_is_no_speech():
    assert segments(np.concatenate([silence(1.0), speech(2 * FRAME_S), silence(1.0)])) == []


def test_the_end_of_a_recording_is_not_padded():
    audio = np.concatenate([silence(1.0), speech(1.0)])[:-100]
    (found,) = segments(audio)
    assert found.end_s == pytest.approx(len(audio) / SAMPLE_RATE, abs=1e-9)


def test_long_speech_is_cut_at_its_longest_pause():
    audio = np.concatenate([speech(6.0), silence(0.1), speech(1.0), silence(0.4), speech(6.0)])
    first, second = segments(audio, longest_s=10.0)
    assert first.end_s == pytest.approx(7.1 + 0.2, abs=2 * FRAME_S)
    assert second.start_s == first.end_s


def test_a_cut_loses_and_repeats_no_sample():
    audio = np.random.default_rng(0).uniform(0.05, 0.1, 60 * SAMPLE_RATE).astype(np.float32)
    found = segments(audio, longest_s=10.0)
    assert all(len(segment.audio) <= 10.0 * SAMPLE_RATE + FRAME for segment in found)
    np.testing.assert_array_equal(np.concatenate([segment.audio for segment in found]), audio)


def test_without_a_pause_the_cut_is_where_it_is_quietest():
    frames = np.full((40, FRAME), 0.1, np.float32)
    frames[24:27] = 0.01
    assert best_pause(np.ones(40), frames) == 25


def test_two_streams_of_one_network_do_not_mix(voice, prompt, noise):
    alone = segments(prompt, voice)
    first, second = Segmenter(voice), Segmenter(voice)
    mixed = []
    for start in range(0, len(prompt), 1600):
        mixed += first.feed(prompt[start : start + 1600])
        list(second.feed(noise(0.1, -20, seed=start)))
    mixed += first.finish()
    assert [s.start_s for s in mixed] == [s.start_s for s in alone]


def test_current_is_what_has_been_said_so_far():
    segmenter = Segmenter(Scripted(), SegmentSettings(padding_s=0.32))
    assert segmenter.current() is None
    list(segmenter.feed(np.concatenate([silence(1.0), speech(1.0)])))
    current = segmenter.current()
    assert current is not None
    assert len(current.audio) / SAMPLE_RATE == pytest.approx(1.32, abs=2 * FRAME_S)
    list(segmenter.feed(silence(0.48)))
    assert segmenter.silence_s == pytest.approx(0.48)


@pytest.mark.parametrize(("name", "start"), [("agent-alreadyon.flac", 37_600), ("invalid.flac", 41_600)])
def test_speech_that_begins_with_the_stream_is_found(voice, name, start):
    """A third of a second from within speech, in which Silero finds none from its initial state."""
    audio = read(RECORDINGS / name)[start : start + 5600]
    assert (voice(audio[: 10 * FRAME].reshape(10, FRAME), VoiceState()) < ONSET).sum() > 7
    segmenter = Segmenter(voice)
    assert [*segmenter.feed(audio), *segmenter.finish()]
