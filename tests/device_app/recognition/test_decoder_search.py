import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.recognition.decoder_search import Hypothesis, SearchSettings, log_softmax, repetition, search

START, END = 0, 1


class TableDecoder:
    """Predicts the next token from all tokens before it; each row keeps its own, as a cache does.

    Attributes:
        rows: how many hypotheses each step had.
    """

    def __init__(self, log_probabilities):
        self._of = log_probabilities
        self._histories = [()]
        self.rows = []

    def step(self, tokens, parents):
        histories = [self._histories[parent] for parent in parents]
        self._histories = [(*history, int(token)) for history, token in zip(histories, tokens, strict=True)]
        self.rows.append(len(tokens))
        attention = np.array([[len(history), history[-1]] for history in self._histories], np.float32)
        return np.stack([self._of(history) for history in self._histories]), attention


def random_table(seed, vocabulary=4, spread=2.0):
    def row(history):
        random = np.random.default_rng([seed, *history])
        return log_softmax(random.normal(0, spread, vocabulary).astype(np.float32))

    return row


def fixed(probabilities):
    """Predicts by the tokens so far, start token excluded; the token 2 follows what is not listed."""

    def row(history):
        with np.errstate(divide="ignore"):
            return np.log(np.array(probabilities.get(history[1:], [0, 0.01, 0.98, 0.01]), np.float32))

    return row


def run(table, beam=4, longest=20, margin=math.inf, length_exponent=0.0):
    decoder = TableDecoder(table)
    settings = SearchSettings(beam, margin, length_exponent)
    return search(decoder, start=START, end=END, max_tokens=longest, settings=settings), decoder


def total(table, tokens, is_complete=True):
    """The log-probability of tokens, and of the end after them."""
    followed = [*tokens, END] if is_complete else tokens
    return sum(float(table((START, *tokens[:i]))[token]) for i, token in enumerate(followed))


@given(seed=st.integers(0, 2**32 - 1))
def test_a_beam_that_drops_nothing_finds_the_most_likely_sequence(seed):
    table, longest = random_table(seed, vocabulary=3), 4
    sequences = [
        tokens for length in range(longest) for tokens in itertools.product((0, 2), repeat=length)
    ]  # without the end token, in at most `longest` steps with it
    best = max(sequences, key=lambda tokens: total(table, tokens))
    found, _ = run(table, beam=3**longest, longest=longest)
    assert found.is_complete
    assert found.tokens == best


@given(seed=st.integers(0, 2**32 - 1), beam=st.integers(1, 6), margin=st.floats(0.1, 20), exponent=st.floats(0, 1))
def test_scores_are_those_of_the_tokens(seed, beam, margin, exponent):
    """Each hypothesis keeps its own cache: the score is the decoder's for just these tokens."""
    table = random_table(seed)
    found, decoder = run(table, beam, 8, margin, exponent)
    assert found.score == pytest.approx(total(table, found.tokens, found.is_complete), abs=1e-4)
    assert sum(found.log_probabilities) == pytest.approx(total(table, found.tokens, is_complete=False), abs=1e-4)
    assert [row.tolist() for row in found.attention] == [
        [position + 1, token] for position, token in enumerate((START, *found.tokens))
    ][: len(found.attention)]
    assert len(found.attention) == len(found.tokens) + found.is_complete
    assert max(decoder.rows) <= beam


@given(seed=st.integers(0, 2**32 - 1))
def test_a_beam_of_one_takes_the_likeliest_token_each_time(seed):
    table = random_table(seed)
    history = [START]
    while len(history) <= 8 and (token := int(table(tuple(history)).argmax())) != END:
        history.append(token)
    found, _ = run(table, beam=1, longest=8)
    assert list(found.tokens) == history[1:][:8]


def test_a_likelier_sequence_that_begins_with_the_less_likely_token_is_found():
    table = fixed({(): [0, 0, 0.6, 0.4], (2,): [0.25, 0.25, 0.25, 0.25], (3,): [0, 1, 0, 0]})
    assert run(table, beam=1)[0].tokens != (3,)
    assert run(table, beam=2)[0].tokens == (3,)


def test_a_decoder_that_is_sure_advances_one_hypothesis():
    sure = fixed({(2,) * 5: [0, 1, 0, 0]})
    assert run(sure, margin=3.0)[1].rows == [1] * 6
    assert max(run(sure, margin=100.0)[1].rows) == 4


def test_a_longer_hypothesis_wins_by_its_mean():
    table = fixed({(): [0, 0.45, 0.55, 0], (2,): [0, 0.7, 0.15, 0.15]})
    assert run(table, length_exponent=0.0)[0].tokens == ()
    assert run(table, length_exponent=1.0)[0].tokens == (2,)


def test_no_hypothesis_ends_before_the_fewest_tokens():
    table = fixed({(): [0, 0.9, 0.1, 0], (2,): [0, 0.9, 0.05, 0.05]})
    for min_tokens in (0, 1):
        found = search(
            TableDecoder(table),
            start=START,
            end=END,
            max_tokens=9,
            settings=SearchSettings(beam=4, min_tokens=min_tokens),
        )
        assert found.tokens == (2,) * min_tokens


def test_a_loop_ends_the_search_with_one_phrase():
    alternating = {(2, 3) * i + (2,): [0, 0.01, 0.01, 0.98] for i in range(9)}
    for table, phrase in ((fixed({}), (2,)), (fixed(alternating), (2, 3))):
        found, _ = run(table, longest=100)
        assert found.tokens == phrase
        assert not found.is_complete
        assert len(found.attention) == len(found.log_probabilities) == len(phrase)


def test_a_less_likely_hypothesis_in_a_loop_does_not_win():
    table = fixed({(): [0, 0.9, 0.1, 0]})
    found, _ = run(table, beam=2, longest=100, length_exponent=1.0)
    assert found.tokens == ()
    assert found.is_complete


def test_what_has_not_ended_at_the_longest_length_is_not_complete():
    found, _ = run(random_table(0), longest=1, beam=1, margin=0.1)
    assert len(found.tokens) == 1
    assert not found.is_complete


class RandomBias:
    """Adds bonuses at random, and accepts the biased hypothesis or never does."""

    def __init__(self, seed, accepts):
        self._random, self._accepts = np.random.default_rng(seed), accepts

    def step(self, tokens, parents, log_probabilities):
        return log_probabilities + self._random.normal(0, 4, log_probabilities.shape).astype(np.float32)

    def accepts(self, plain, biased):
        self.plain, self.biased = plain, biased
        return self._accepts


@given(seed=st.integers(0, 2**32 - 1), beam=st.integers(1, 5), margin=st.floats(0.1, 20), accepts=st.booleans())
def test_a_bias_never_changes_the_result_without_it(seed, beam, margin, accepts):
    table, settings = random_table(seed), SearchSettings(beam, margin, 1.0)
    alone = search(TableDecoder(table), start=START, end=END, max_tokens=8, settings=settings)
    decoder, bias = TableDecoder(table), RandomBias(seed, accepts)
    found = search(decoder, start=START, end=END, max_tokens=8, settings=settings, bias=bias)
    assert bias.plain.tokens == alone.tokens == found.unbiased
    assert bias.plain.score == pytest.approx(alone.score)
    assert bias.plain.bonus == 0
    assert found.tokens == (bias.biased if accepts else alone).tokens
    assert found.score == pytest.approx(total(table, found.tokens, found.is_complete), abs=1e-4)
    assert max(decoder.rows) <= 2 * beam


def test_hypotheses_of_both_beams_are_decoded_once():
    decoder = TableDecoder(random_table(3))
    settings = SearchSettings(beam=4, margin=math.inf)

    class NoBias(RandomBias):
        def step(self, tokens, parents, log_probabilities):
            return log_probabilities

    search(decoder, start=START, end=END, max_tokens=6, settings=settings, bias=NoBias(0, accepts=True))
    assert max(decoder.rows) == 4


def test_a_wrapper_can_add_a_score_to_every_step():
    class Biased(TableDecoder):
        def step(self, tokens, parents):
            log_probabilities, attention = super().step(tokens, parents)
            log_probabilities[:, 3] += 2.0
            return log_probabilities, attention

    table = fixed({(): [0, 0, 0.6, 0.4], (2,): [0, 1, 0, 0], (3,): [0, 1, 0, 0]})
    settings = SearchSettings(beam=2)
    for kind, expected in ((TableDecoder, (2,)), (Biased, (3,))):
        assert search(kind(table), start=START, end=END, max_tokens=5, settings=settings).tokens == expected


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


def test_log_softmax_is_of_each_row():
    logits = np.log(np.float32([[0.1, 0.2, 0.7], [0.25, 0.25, 0.5]])) + np.float32([[5], [-300]])
    assert np.exp(log_softmax(logits)) == pytest.approx(np.float32([[0.1, 0.2, 0.7], [0.25, 0.25, 0.5]]), rel=1e-4)


def test_a_cut_hypothesis_has_no_more_than_its_tokens():
    attention = np.ones(3, np.float32)
    whole = Hypothesis().extended(5, -1.0, attention).extended(6, -2.0, attention).ended(-0.5, attention)
    cut = whole.truncated(1)
    assert (cut.tokens, cut.score, len(cut.attention), cut.is_complete) == ((5,), -1.0, 1, False)
