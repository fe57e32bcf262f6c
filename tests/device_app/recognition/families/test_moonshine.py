import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.recognition.families.moonshine import log_probability, repetition


@given(
    phrase=st.lists(st.integers(0, 9), min_size=1, max_size=16),
    repeats=st.integers(1, 30),
    before=st.integers(0, 5),
)
def test_a_loop_is_cut_to_its_first_phrase(phrase, repeats, before):
    """Fed token by token, as decoding does, a loop never grows past the cut."""
    tokens = [100 + i for i in range(before)]
    for token in phrase * repeats:
        tokens.append(token)
        if cut := repetition(tokens):
            assert tokens[-cut - 1 :][:1] == tokens[-1:]
            assert len(tokens) - cut <= before + len(phrase) * 4
            return
    assert repeats < 4 or len(phrase) * repeats < 24


@pytest.mark.parametrize("tokens", [[], [5], [5] * 8, [1, 2] * 5, list(range(50)), [7, 7, 8, 8] * 3])
def test_what_people_say_twice_is_no_loop(tokens):
    assert repetition(tokens) == 0


def test_a_word_said_twelve_times_is_a_loop():
    assert repetition([5] * 12) == 11
    assert repetition([9, 1, 2, 3, 4] + [6, 7, 8] * 4) == 9


def test_log_probability_is_of_the_softmax():
    logits = np.log(np.float32([0.1, 0.2, 0.7])) + 5
    assert np.exp(log_probability(logits, 2)) == pytest.approx(0.7, rel=1e-5)
