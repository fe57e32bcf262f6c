"""Words with times and confidence from CTC pieces."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from device_app.recognition.ctc.decoder import CtcDecoder
from device_app.recognition.ngram import BEGIN, END, NGram
from device_app.recognition.options import DecodingOptions

BLANK = 4
NAMES = ["a", "b", "\u2581", "\u2581ab"]


def frames(*best, sure=0.9):
    """(frames, vocabulary) in which one token is the most likely of each frame."""
    probabilities = np.full((len(best), BLANK + 1), (1 - sure) / BLANK, np.float32)
    probabilities[np.arange(len(best)), best] = sure
    return np.log(probabilities)


@pytest.fixture
def tokenizer():
    found = Tokenizer(models.BPE({name: place for place, name in enumerate(NAMES)}, []))
    found.pre_tokenizer, found.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return found


@pytest.fixture
def decoder(tokenizer):
    return CtcDecoder(tokenizer, BLANK)


def test_words_have_times_and_confidence(decoder):
    recognition = decoder.recognition(frames(2, 0, 1, BLANK, 3, 3, BLANK, BLANK), 8 * 640)
    assert recognition.text == "ab ab"
    first, second = recognition.words
    assert (first.start_s, first.end_s) == pytest.approx((0.04, 0.12))  # without the frame of the word-start token
    assert (second.start_s, second.end_s) == pytest.approx((0.16, 0.24))
    assert first.confidence == pytest.approx(0.9, rel=1e-4)


def test_blanks_and_word_start_tokens_alone_are_not_words(decoder):
    assert decoder.recognition(frames(BLANK, BLANK), 1280).words == []
    assert decoder.recognition(frames(2, BLANK, 2), 1920).text == ""


def test_a_term_that_the_language_model_finds_by_itself_is_not_helped(tokenizer):
    model = NGram(1, {(BEGIN,): -1.0, (END,): -1.0, ("ab",): -0.1}, {})
    options = DecodingOptions(language_model=model, keyterms=["ab"])
    log_probabilities = np.log(np.array([[0.01, 0.01, 0.5, 0.47, 0.01], [0.01, 0.01, 0.01, 0.01, 0.96]], np.float32))
    assert CtcDecoder(tokenizer, BLANK).recognition(log_probabilities, 1280).text == ""
    (match,) = CtcDecoder(tokenizer, BLANK, options).recognition(log_probabilities, 1280).terms
    assert match.term == "ab"
    assert not match.is_helped
