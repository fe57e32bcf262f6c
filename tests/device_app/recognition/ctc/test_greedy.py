"""Greedy decoding collapses repeats and drops blanks."""

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from device_app.recognition.ctc.greedy import greedy

BLANK = 4


def frames(*best, sure=0.9):
    """(frames, vocabulary) in which one token is the most likely of each frame."""
    probabilities = np.full((len(best), BLANK + 1), (1 - sure) / BLANK, np.float32)
    probabilities[np.arange(len(best)), best] = sure
    return np.log(probabilities)


def test_repeats_are_collapsed_unless_a_blank_separates_them():
    found = greedy(frames(0, 0, BLANK, 0, 1, BLANK), BLANK)
    assert [(piece.token, piece.start, piece.end) for piece in found] == [(0, 0, 2), (0, 3, 4), (1, 4, 5)]
    assert all(math.isclose(piece.log_probability, math.log(0.9), rel_tol=1e-5) for piece in found)


@given(st.lists(st.integers(0, BLANK), max_size=30))
def test_pieces_are_the_collapsed_path(best):
    found = greedy(frames(*best), BLANK) if best else greedy(np.zeros((0, BLANK + 1), np.float32), BLANK)
    assert [piece.token for piece in found] == [token for token, _ in itertools.groupby(best) if token != BLANK]
