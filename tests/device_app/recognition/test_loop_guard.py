import numpy as np
import pytest

from device_app.audio.samples import SAMPLE_RATE
from device_app.recognition.decoder_search import Hypothesis
from device_app.recognition.loop_guard import quietest_middle, recognise_in_parts
from device_app.recognition.results import Recognition, Word

MIN_LOG_PROBABILITY = -2.5


def test_the_middle_is_cut_where_it_is_quietest():
    audio = np.random.default_rng(0).standard_normal(4 * SAMPLE_RATE).astype(np.float32)
    pause = slice(int(1.7 * SAMPLE_RATE), int(1.9 * SAMPLE_RATE))
    audio[pause] *= 0.01
    assert pause.start < quietest_middle(audio) < pause.stop


def decode(score, ends_within_s):
    """A decoder of any family: it ends by itself in short audio only."""
    frames = (np.zeros(1, np.float32),)
    return lambda part: Hypothesis((1,), (score,), frames, score, len(part) <= ends_within_s * SAMPLE_RATE)


def one_word(_hypothesis, audio):
    duration_s = len(audio) / SAMPLE_RATE
    return Recognition("word", [Word("word", 0.0, duration_s, 1.0)])


def test_a_decoding_that_does_not_end_is_repeated_in_parts_that_follow_each_other():
    audio = np.random.default_rng(0).standard_normal(8 * SAMPLE_RATE).astype(np.float32)
    found = recognise_in_parts(audio, decode(-0.1, 3.0), one_word, MIN_LOG_PROBABILITY)
    assert found.text.split() == ["word"] * len(found.words)
    assert len(found.words) >= 3
    ends = [word.end_s for word in found.words]
    assert [word.start_s for word in found.words] == pytest.approx([0.0, *ends[:-1]])
    assert ends[-1] == pytest.approx(8.0)


def test_audio_shorter_than_two_seconds_is_not_split():
    audio = np.random.default_rng(0).standard_normal(4 * SAMPLE_RATE).astype(np.float32)
    found = recognise_in_parts(audio, decode(-0.1, 0.0), one_word, MIN_LOG_PROBABILITY)
    assert all(word.end_s - word.start_s >= 0.5 for word in found.words)
    assert len(found.words) > 1


def test_an_improbable_hypothesis_is_dropped():
    audio = np.zeros(4 * SAMPLE_RATE, np.float32)
    assert recognise_in_parts(audio, decode(-3.0, 9.0), one_word, MIN_LOG_PROBABILITY) == Recognition("", [])
