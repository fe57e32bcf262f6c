"""Frequent English words, which a recogniser knows, so that the list of terms need not have them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from device_app.paths import ASSETS

FILE = ASSETS / "frequent_words.txt"
CONTRACTIONS = ("n't", "'s", "'ll", "'re", "'ve", "'m", "'d", "s'")
ENDINGS = ("s", "es", "d", "ed", "r", "er", "est", "ing", "ly")
OF_Y = {"ies": "y", "ied": "y", "ier": "y", "iest": "y", "ily": "y"}
SHORTEST = 4  # letters of a word of the file
SHORTEST_STEM = 3  # letters


def is_frequent(word: str) -> bool:
    """Whether a word, in any case, is a frequent one or a form of one; so are all parts of one with hyphens."""
    if "-" in word:
        return all(len(part) < SHORTEST or is_frequent(part) for part in word.split("-"))
    folded = word.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    base = next((folded.removesuffix(one) for one in CONTRACTIONS if folded.endswith(one)), folded)
    is_short = base != folded and len(base) < SHORTEST  # "isn't", "we've"
    return is_short or base in _words() or any(_is_listed(stem) for stem in _stems(base))


def _is_listed(word: str) -> bool:
    """Whether a word, or what it is a form of, is in the file: for "paintings", that is "paint"."""
    return word in _words() or any(stem in _words() for stem in _stems(word))


def _stems(word: str) -> Iterator[str]:
    """The words of which this one may be a form: of "stopped" these are "stoppe", "stopp" and "stop"."""
    for ending, replaced in OF_Y.items():
        if word.endswith(ending):
            yield word.removesuffix(ending) + replaced
    for ending in ENDINGS:
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < SHORTEST_STEM:
            continue
        yield stem
        if ending in ("ing", "est", "ed", "er"):
            yield f"{stem}e"
            if stem[-1] == stem[-2]:
                yield stem[:-1]


@cache
def _words() -> frozenset[str]:
    lines = FILE.read_text("utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())
