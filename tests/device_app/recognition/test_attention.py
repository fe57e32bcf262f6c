from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.audio.samples import SAMPLE_RATE
from device_app.recognition.attention import after_pause, align, trim_silence


def test_alignment_follows_the_attention():
    attention = np.full((3, 10), 0.01, np.float32)
    attention[0, 0:2] = attention[1, 2:7] = attention[2, 7:10] = 1
    assert align(attention).tolist() == [0, 2, 7, 10]


@given(tokens=st.integers(1, 12), frames=st.integers(1, 30), seed=st.integers(0, 2**32 - 1))
def test_alignment_is_the_best_monotonic_split(tokens, frames, seed):
    attention = np.random.default_rng(seed).uniform(0, 1, (tokens, frames)).astype(np.float32)
    bounds = align(attention)
    assert bounds[0] == 0
    assert bounds[-1] == frames
    assert (np.diff(bounds) >= 0).all()
    if tokens > frames:
        return
    assert (np.diff(bounds) >= 1).all()
    if tokens <= 3 and frames <= 12:  # few enough to try every split

        def score(split):
            return sum(np.log(attention[i, a:b] + 1e-6).sum() for i, (a, b) in enumerate(pairwise(split)))

        best = max(score([0, *inner, frames]) for inner in combinations(range(1, frames), tokens - 1))
        assert score(bounds.tolist()) == pytest.approx(best, rel=1e-6)


def test_silence_is_trimmed_from_both_ends():
    audio = np.zeros(SAMPLE_RATE, np.float32)
    audio[4000:8000] = 0.5
    start, end = trim_silence(audio, 1600, 14400)
    assert (start, end) == pytest.approx((0.25, 0.5), abs=0.011)


def test_a_word_after_a_pause_begins_where_the_longest_silence_ends():
    audio = np.zeros(SAMPLE_RATE, np.float32)
    for start, end in ((1600, 3200), (3520, 4800), (9600, 12800)):
        audio[start:end] = 0.5
    assert after_pause(audio, 0, 14400, default=7) == 9600
    assert after_pause(audio, 0, 3200, default=7) == 7
    assert after_pause(audio, 5000, 9000, default=7) == 7


def test_a_span_beyond_the_audio_ends_with_it():
    assert trim_silence(np.ones(1000, np.float32), 0, 2000)[1] == pytest.approx(1000 / SAMPLE_RATE, abs=0.01)
    assert trim_silence(np.ones(1000, np.float32), 900, 900) == (900 / SAMPLE_RATE, 900 / SAMPLE_RATE)
