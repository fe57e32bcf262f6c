"""Tokenizers of CTC models: texts to tokens and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editing.errors import BadInputError
from trainer.vocabulary import build_tokenizer, ctc_tokeniser

WORDS = st.lists(st.text("abcdefghij'", min_size=1, max_size=8).filter(lambda w: w.strip("'")), min_size=1, max_size=6)


@pytest.mark.parametrize("size", [None, 40])
@given(words=WORDS)
def test_decoding_tokens_restores_the_text(size, words):
    text = " ".join(words)
    tokenizer = build_tokenizer(["abc def ghi j' abc abd abe", "hij hija 'abc"], size)
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_case_and_punctuation_are_removed():
    tokenizer = build_tokenizer(["Don\u2019t stop, it's Mine!"])
    assert tokenizer.decode(tokenizer.encode("It\u2019s MINE - stop.").ids) == "it's mine stop"
    assert tokenizer.get_vocab_size() == len(set("don'tstopit'smine")) + 1


def test_subword_units_give_fewer_tokens_than_characters():
    texts = ["the theatre there"] * 3
    characters, subwords = build_tokenizer(texts), build_tokenizer(texts, 20)
    assert len(subwords.encode("the theatre").ids) < len(characters.encode("the theatre").ids)
    assert subwords.get_vocab_size() <= 20


@pytest.mark.parametrize(("texts", "size", "reason"), [(["12 !", ""], 1, "too small"), (["..."], None, "no letters")])
def test_texts_without_letters_or_a_size_below_the_alphabet_are_errors(texts, size, reason):
    with pytest.raises(BadInputError, match=reason):
        build_tokenizer(texts, size)


def test_the_error_lists_characters_outside_the_vocabulary(tiny_bundle):
    tokens = ctc_tokeniser(tiny_bundle)
    assert tokens("Zero, one!") == tokens("zero one")
    with pytest.raises(BadInputError, match=r"cannot write: 7 \u00e9; write numbers as words"):
        tokens("caf\u00e9 7")
    with pytest.raises(BadInputError, match="no letters"):
        tokens("?!")
