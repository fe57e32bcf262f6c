"""Subword tokens: the SentencePiece mark, and the grouping of tokens into words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

WORD_START = "\N{LOWER ONE EIGHTH BLOCK}"  # SentencePiece's mark at the start of a word's first token


def word_spans(names: Sequence[str]) -> list[tuple[int, int]]:
    """Groups tokens into words.

    Args:
        names: the tokens as the vocabulary spells them.

    Returns:
        For each word, the index of its first token and the index after its last.
    """
    starts = [index for index, name in enumerate(names) if index == 0 or name.startswith(WORD_START)]
    return list(pairwise([*starts, len(names)]))
