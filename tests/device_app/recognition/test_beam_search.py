"""Decoding with a beam and an n-gram model, held to going through all possibilities."""

import gzip
import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.recognition.beam_search import BONUS, WEIGHT, align, search
from device_app.recognition.ctc import greedy
from device_app.recognition.ngram import BEGIN, END, NGram
from editing.errors import BadInputError

NAMES = ["\u2581", "a", "b"]
BLANK = 3
ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-1.0 <unk>
-0.7 <s> -0.3
-0.9 </s>
-0.5 a -0.2
-1.5 ab -0.1

\\2-grams:
-0.1 <s> ab
-0.4 ab </s>

\\end\\
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "words.arpa"
    path.write_text(ARPA)
    return NGram.read(path)


def test_known_n_grams_have_their_probability_and_others_back_off(model):
    ten = math.log(10)
    assert model.log_probability((BEGIN,), "ab") == pytest.approx(-0.1 * ten)
    assert model.log_probability((BEGIN,), "a") == pytest.approx((-0.3 - 0.5) * ten)
    assert model.log_probability((BEGIN, "ab", "a"), "a") == pytest.approx((-0.2 - 0.5) * ten)
    assert model.log_probability((BEGIN, "ab"), "never") == pytest.approx((-0.1 - 1.0) * ten)
    assert model.log_probability(("x",), END) == pytest.approx(-0.9 * ten)


def test_a_model_may_be_compressed(model, tmp_path):
    path = tmp_path / "words.arpa.gz"
    path.write_bytes(gzip.compress(ARPA.encode()))
    assert NGram.read(path) == model


@pytest.mark.parametrize(
    "text", ["", "hello", "\\1-grams:\n-0.5\n", "\\1-grams:\nx a\n", "\\2-grams:\n-0.5 a b c d\n", "\\x-grams:\n-1 a\n"]
)
def test_what_is_no_arpa_file_is_said_with_its_line(tmp_path, text):
    path = tmp_path / "bad.arpa"
    path.write_text(text)
    with pytest.raises(BadInputError, match=r"bad\.arpa.*not an ARPA file"):
        NGram.read(path)
    with pytest.raises(BadInputError, match=r"none\.arpa"):
        NGram.read(tmp_path / "none.arpa")


DAMAGED = {
    "cut off": gzip.compress(ARPA.encode())[:-12],
    "flipped": gzip.compress(ARPA.encode())[:20] + b"\xff" * 8 + gzip.compress(ARPA.encode())[28:],
    "no gzip": ARPA.encode(),
    "an endless line": gzip.compress(b"a" * (300 << 20), compresslevel=1),
    "not a number": gzip.compress(ARPA.encode().replace(b"-1", b"nan")),
    "order of 5,000 digits": gzip.compress(b"\\" + b"9" * 5000 + b"-grams:\n"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_compressed_model_is_reported_in_little_memory(tmp_path, kind):
    path = tmp_path / "words.arpa.gz"
    path.write_bytes(DAMAGED[kind])
    tracemalloc.start()
    try:
        with pytest.raises(BadInputError, match=r"words\.arpa\.gz.*ARPA file"):
            NGram.read(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def collapsed(path):
    return tuple(token for token, _ in itertools.groupby(path) if token != BLANK)


def best_of_all(frames, model):
    """Sums every path's probability by what it collapses to, and adds what the words are worth."""
    sums = {}
    for path in itertools.product(range(BLANK + 1), repeat=len(frames)):
        chance = sum(float(frames[i, token]) for i, token in enumerate(path))
        tokens = collapsed(path)
        sums[tokens] = np.logaddexp(sums.get(tokens, -np.inf), chance)

    def score(tokens):
        words = tuple(word for word in "".join(NAMES[token] for token in tokens).split("\u2581") if word)
        of_words = sum(model.log_probability((BEGIN, *words[:i]), word) for i, word in enumerate(words))
        of_words += model.log_probability((BEGIN, *words), END)
        return sums[tokens] + WEIGHT * of_words + BONUS * len(words)

    return score, max(sums, key=score)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 5), seed=st.integers(0, 10_000))
def test_the_beam_finds_the_best_of_all_possibilities(model, count, seed):
    logits = np.random.default_rng(seed).standard_normal((count, BLANK + 1)) * 2
    frames = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
    score, best = best_of_all(frames, model)
    assert score(search(frames, NAMES, BLANK, model)) == pytest.approx(score(best), abs=1e-4)


def test_words_that_the_model_knows_win_over_a_little_more_sound(model):
    frames = np.log(np.array([[0.02, 0.9, 0.04, 0.04], [0.02, 0.53, 0.43, 0.02]], np.float32))
    assert greedy(frames, BLANK)[0].token == 1
    assert search(frames, NAMES, BLANK, model) == (1, 2)  # "ab", which sentences begin with


@given(st.lists(st.integers(0, BLANK), min_size=1, max_size=20))
def test_alignment_gives_what_greedy_decoding_gives_where_it_is_sure(path):
    frames = np.full((len(path), BLANK + 1), math.log(0.01), np.float32)
    frames[np.arange(len(path)), path] = math.log(0.97)
    found = align(frames, collapsed(path), BLANK)
    assert [(p.token, p.start, p.end) for p in found] == [(p.token, p.start, p.end) for p in greedy(frames, BLANK)]


def test_the_embedded_model_needs_none(run, tmp_path):
    path = tmp_path / "words.arpa"
    path.write_text(ARPA)
    done = run("transcribe", "--lm", path, "x.wav")
    assert done.returncode == 1
    assert "of its own" in done.stderr or "x.wav" in done.stderr
