import os

import numpy as np
import pytest
from safetensors.numpy import load, save

from device_app.data.terms import Term
from device_app.recognition.keyterms import cache
from device_app.recognition.keyterms.cache import term_graph
from device_app.recognition.keyterms.graph import TermGraph
from device_app.recognition.keyterms.terms import START, Keyterms
from device_app.recognition.keyterms.token_index import DEAD

MARK = "\N{LOWER ONE EIGHTH BLOCK}"
NAMES = ["<s>", None, MARK, ".", "'", *"abct", MARK + "a", MARK + "ca", "at", MARK + "Cat", "\0"]
TERMS = ["cat", "Act", Term("tab a", 2.0)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(cache, "MIN_TERMS", 1)
    return tmp_path / "home" / cache.FOLDER


def refuse():
    raise AssertionError("the names are not needed")


def scores(found):
    """The bonus of each token after each state that two tokens reach."""
    states = {START, DEAD}
    for _ in range(2):
        states |= {found.next_state(state, token) for state in states for token in range(len(NAMES))}
    return {state: [found.advance(state, token) for token in range(len(NAMES))] for state in states}


def test_a_list_is_the_same_from_its_file_and_needs_no_names(folder):
    first = term_graph(TERMS, "tokenizer", lambda: NAMES)
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o077 == 0
    again = term_graph(TERMS, "tokenizer", refuse)
    assert scores(again) == scores(first)
    assert scores(again) == scores(TermGraph(Keyterms(TERMS), NAMES))


@pytest.mark.parametrize(
    ("terms", "tokenizer"),
    [(["cat"], "tokenizer"), ([*TERMS[:2], Term("tab a", 3.0)], "tokenizer"), (TERMS, "another")],
)
def test_other_terms_weights_and_tokenizers_have_files_of_their_own(folder, terms, tokenizer):
    term_graph(TERMS, "tokenizer", lambda: NAMES)
    with pytest.raises(AssertionError, match="not needed"):
        term_graph(terms, tokenizer, refuse)


def test_only_the_latest_files_are_kept(folder):
    for number in range(cache.FILES + 2):
        term_graph([f"a{number}"], "tokenizer", lambda: NAMES)
        for age, path in enumerate(sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime_ns, reverse=True)):
            os.utime(path, (1e9 - age, 1e9 - age))
    assert len(list(folder.iterdir())) == cache.FILES


def test_short_lists_and_tokenizers_without_a_hash_keep_no_file(folder, monkeypatch):
    term_graph(TERMS, None, lambda: NAMES)
    monkeypatch.setattr(cache, "MIN_TERMS", 4)
    term_graph(TERMS, "tokenizer", lambda: NAMES)
    assert not folder.exists()


def damaged(path, **arrays):
    path.write_bytes(save({**load(path.read_bytes()), **arrays}))


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "tokens out of range": lambda path: damaged(path, tokens=np.full(11, 99)),
    "negative tokens": lambda path: damaged(path, new_words=np.full((3, 2), -1)),
    "other type": lambda path: damaged(path, tokens=np.zeros(11, np.float32)),
    "other shape": lambda path: damaged(path, new_words=np.zeros(3, np.int64)),
    "offsets": lambda path: damaged(path, offsets=np.zeros(12, np.int64)),
    "not finite": lambda path: damaged(path, new_word_bonuses=np.full(3, np.nan, np.float32)),
    "no texts": lambda path: path.write_bytes(save({"tokens": np.zeros(3)})),
    "not UTF-8": lambda path: damaged(path, texts=np.full(20, 255, np.uint8)),
    "another array": lambda path: damaged(path, more=np.zeros(3)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_made_again(folder, damage):
    first = scores(term_graph(TERMS, "tokenizer", lambda: NAMES))
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    DAMAGE[damage](path)
    assert path.read_bytes() != whole
    assert scores(term_graph(TERMS, "tokenizer", lambda: NAMES)) == first
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_changes_nothing(folder, monkeypatch):
    folder.parent.mkdir()
    folder.write_text("a file in the place of the folder")
    term_graph(TERMS, "tokenizer", lambda: NAMES)
