"""Sentences of the synthetic benchmark."""

import re
from itertools import islice

from trainer.lifelong.corpora.sentences import PATTERNS, SLOTS, sentences, split_of


def test_train_and_test_share_no_sentence_and_no_sentence_repeats():
    train, test = (list(islice(sentences(part, 0), 2000)) for part in ("train", "test"))
    assert len(set(train)) == len(set(test)) == 2000
    assert not set(train) & set(test)
    assert {split_of(text) for text in test} == {"test"}


def test_sentences_are_deterministic_for_a_seed():
    assert list(islice(sentences("train", 7), 20)) == list(islice(sentences("train", 7), 20))
    assert list(islice(sentences("train", 7), 20)) != list(islice(sentences("train", 8), 20))


def test_every_slot_has_words_and_the_vocabulary_has_a_few_hundred():
    assert {slot for pattern in PATTERNS for slot in re.findall(r"\{(\w+)\}", pattern)} == SLOTS.keys()
    words = {word for text in islice(sentences("train", 0), 5000) for word in text.split()}
    assert 200 < len(words) < 400
    assert all(re.fullmatch(r"[a-z']+", word) for word in words)
