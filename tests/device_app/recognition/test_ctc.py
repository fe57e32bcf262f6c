"""Frames become pieces, pieces become words with times."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from device_app.recognition.ctc import Decoder, greedy

BLANK = 4
NAMES = ["a", "b", "\u2581", "\u2581ab"]


def frames(*best, sure=0.9):
    """(frames, vocabulary) where one token is likeliest in each."""
    probabilities = np.full((len(best), BLANK + 1), (1 - sure) / BLANK, np.float32)
    probabilities[np.arange(len(best)), best] = sure
    return np.log(probabilities)


@pytest.fixture
def decoder():
    tokenizer = Tokenizer(models.BPE({name: place for place, name in enumerate(NAMES)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return Decoder(tokenizer, BLANK)


def test_repeats_join_and_blanks_part():
    found = greedy(frames(0, 0, BLANK, 0, 1, BLANK), BLANK)
    assert [(piece.token, piece.start, piece.end) for piece in found] == [(0, 0, 2), (0, 3, 4), (1, 4, 5)]
    assert all(math.isclose(piece.log_probability, math.log(0.9), rel_tol=1e-5) for piece in found)


@given(st.lists(st.integers(0, BLANK), max_size=30))
def test_pieces_are_what_collapsing_gives(best):
    found = greedy(frames(*best), BLANK) if best else greedy(np.zeros((0, BLANK + 1), np.float32), BLANK)
    assert [piece.token for piece in found] == [token for token, _ in itertools.groupby(best) if token != BLANK]


def test_words_have_their_times_and_how_sure_they_are(decoder):
    recognition = decoder.recognition(frames(2, 0, 1, BLANK, 3, 3, BLANK, BLANK), 8 * 640)
    assert recognition.text == "ab ab"
    first, second = recognition.words
    assert (first.start_s, first.end_s) == pytest.approx((0.04, 0.12))  # the mark of a new word is no sound
    assert (second.start_s, second.end_s) == pytest.approx((0.16, 0.24))
    assert first.confidence == pytest.approx(0.9, rel=1e-4)


def test_silence_and_marks_alone_are_no_words(decoder):
    assert decoder.recognition(frames(BLANK, BLANK), 1280).words == []
    assert decoder.recognition(frames(2, BLANK, 2), 1920).text == ""
