"""Beam search with an n-gram model, compared with an exhaustive search."""

import gzip
import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.recognition.ctc.beam_search import LM_WEIGHT, WORD_BONUS, align, search
from device_app.recognition.ctc.greedy import greedy
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


def test_probabilities_of_known_n_grams_are_read_and_others_back_off(model):
    ten = math.log(10)
    assert model.log_probability((BEGIN,), "ab") == pytest.approx(-0.1 * ten)
    assert model.log_probability((BEGIN,), "a") == pytest.approx((-0.3 - 0.5) * ten)
    assert model.log_probability((BEGIN, "ab", "a"), "a") == pytest.approx((-0.2 - 0.5) * ten)
    assert model.log_probability((BEGIN, "ab"), "never") == pytest.approx((-0.1 - 1.0) * ten)
    assert model.log_probability(("x",), END) == pytest.approx(-0.9 * ten)


def test_a_history_shorter_than_the_order_is_used_whole():
    """Regression: at the start of a sentence, models of order 4 or more saw a part of the history."""
    probabilities = {("<unk>",): -2.0, ("c",): -1.0, ("b", "c"): -0.5, (BEGIN, "b", "c"): -0.1}
    model = NGram(4, probabilities, {})
    for count in range(3):
        context = (BEGIN, "b")[2 - count :]
        assert model.log_probability(context, "c") == pytest.approx(probabilities[*context, "c"] * math.log(10))
    assert NGram(5, probabilities, {}).log_probability((BEGIN, "b"), "c") == pytest.approx(-0.1 * math.log(10))


def test_a_model_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "words.arpa"
    path.write_text(ARPA.partition("\\end")[0])
    with pytest.raises(BadInputError, match=r"words\.arpa: is cut off: the line \\end\\ is missing"):
        NGram.read(path)


def test_a_model_may_be_compressed(model, tmp_path):
    path = tmp_path / "words.arpa.gz"
    path.write_bytes(gzip.compress(ARPA.encode()))
    assert NGram.read(path) == model


@pytest.mark.parametrize(
    "text", ["", "hello", "\\1-grams:\n-0.5\n", "\\1-grams:\nx a\n", "\\2-grams:\n-0.5 a b c d\n", "\\x-grams:\n-1 a\n"]
)
def test_errors_in_an_arpa_file_name_the_file(tmp_path, text):
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


def exhaustive_search(frames, model):
    """Sums the probabilities of all paths that collapse to the same tokens, and adds the scores of the words."""
    sums = {}
    for path in itertools.product(range(BLANK + 1), repeat=len(frames)):
        log_probability = sum(float(frames[i, token]) for i, token in enumerate(path))
        tokens = collapsed(path)
        sums[tokens] = np.logaddexp(sums.get(tokens, -np.inf), log_probability)

    def score(tokens):
        words = tuple(word for word in "".join(NAMES[token] for token in tokens).split("\u2581") if word)
        of_words = sum(model.log_probability((BEGIN, *words[:i]), word) for i, word in enumerate(words))
        of_words += model.log_probability((BEGIN, *words), END)
        return sums[tokens] + LM_WEIGHT * of_words + WORD_BONUS * len(words)

    return score, max(sums, key=score)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 5), seed=st.integers(0, 10_000))
def test_the_beam_finds_the_best_hypothesis(model, count, seed):
    logits = np.random.default_rng(seed).standard_normal((count, BLANK + 1)) * 2
    frames = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
    score, best = exhaustive_search(frames, model)
    assert score(search(frames, NAMES, BLANK, model)) == pytest.approx(score(best), abs=1e-4)


def test_a_likely_word_wins_over_a_slightly_better_ctc_score(model):
    frames = np.log(np.array([[0.02, 0.9, 0.04, 0.04], [0.02, 0.53, 0.43, 0.02]], np.float32))
    assert greedy(frames, BLANK)[0].token == 1
    assert search(frames, NAMES, BLANK, model) == (1, 2)  # "ab", which is likely at the start of a sentence


@given(st.lists(st.integers(0, BLANK), min_size=1, max_size=20))
def test_alignment_agrees_with_greedy_decoding_of_confident_frames(path):
    frames = np.full((len(path), BLANK + 1), math.log(0.01), np.float32)
    frames[np.arange(len(path)), path] = math.log(0.97)
    found = align(frames, collapsed(path), BLANK)
    assert [(p.token, p.start, p.end) for p in found] == [(p.token, p.start, p.end) for p in greedy(frames, BLANK)]


def test_the_embedded_model_refuses_a_language_model(run, tmp_path):
    path = tmp_path / "words.arpa"
    path.write_text(ARPA)
    done = run("transcribe", "--lm", path, "x.wav")
    assert done.returncode == 1
    assert "takes no n-gram language model" in done.stderr or "x.wav" in done.stderr
