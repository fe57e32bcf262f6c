"""Word and character error rates under two named normalisers, always shown together.

`basic` takes case and punctuation off. `english` is Whisper's English normaliser (spelling,
numbers, contractions), after which every digit stands alone: one reference writes "1 9 8 4",
another "1984", and a recogniser is to be judged by its words, not by their spelling.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

Normaliser = Callable[[str], str]


def basic(text: str) -> str:
    """Lower case, without punctuation and symbols; apostrophes inside words stay.

    >>> basic("Don't re-enter: it\N{RIGHT SINGLE QUOTATION MARK}s 5 o'clock!")
    "don't re enter it's 5 o'clock"
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    kept = (c if c == "'" or unicodedata.category(c)[0] not in "PS" else " " for c in text)
    words = (word.strip("'") for word in "".join(kept).split())
    return " ".join(word for word in words if word)


def english(text: str) -> str:
    """Whisper's English normaliser, then runs of digits split to single digits.

    >>> english("It's colour 42, Mr. Smith")
    'it is color 4 2 mister smith'
    """
    normalised: str = _whisper()(text)
    return " ".join(re.sub(r"(?<=\d)(?=\d)", " ", normalised).split())


@cache
def _whisper() -> Any:
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer()


NORMALISERS: Mapping[str, Normaliser] = {"english": english, "basic": basic}
"""The normalisers by name."""


@dataclass(frozen=True)
class ErrorRates:
    """Fractions, not per cent; above 1 where hypotheses are much longer than references."""

    wer: float
    cer: float


@dataclass(frozen=True)
class Alignment:
    """Normalised references and hypotheses, aligned by jiwer once; every figure is a view of that.

    The i-th hypothesis belongs to the i-th reference. An empty hypothesis counts as all words deleted.
    """

    references: Sequence[str]
    hypotheses: Sequence[str]

    @cached_property
    def word_counts(self) -> NDArray[np.int64]:
        """(utterances, 2): wrong words (substituted, deleted, inserted) and words of the reference, of each pair."""
        return _counts(self._words)

    @cached_property
    def character_counts(self) -> NDArray[np.int64]:
        """(utterances, 2): as `word_counts`, of characters, spaces between words included."""
        import jiwer

        return _counts(jiwer.process_characters(list(self.references), list(self.hypotheses)))

    def rates(self, chosen: Sequence[int] | None = None) -> ErrorRates:
        """WER and CER over all pairs, or over the `chosen` ones.

        Where no reference has a word, a rate is 0 if no hypothesis has one either, and 1 if any has.
        """
        rows = slice(None) if chosen is None else chosen
        word_errors, words = self.word_counts[rows].sum(axis=0).tolist()
        if not words:
            rate = 1.0 if word_errors else 0.0
            return ErrorRates(rate, rate)
        character_errors, characters = self.character_counts[rows].sum(axis=0).tolist()
        return ErrorRates(word_errors / words, character_errors / characters)

    def table(self, index: int, width: int = 100) -> str:
        """One pair, word under word: REF, HYP, and S, D or I below.

        Args:
            index: of the pair.
            width: lines that would be longer go on in another group of three.
        """
        reference, hypothesis = self._words.references[index], self._words.hypotheses[index]
        groups: list[list[list[str]]] = []
        used = width
        for chunk in self._words.alignments[index]:
            expected = reference[chunk.ref_start_idx : chunk.ref_end_idx]
            found = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
            mark = {"substitute": "S", "delete": "D", "insert": "I", "equal": ""}[chunk.type]
            for above, below in zip_longest(expected, found, fillvalue=""):
                size = max(len(above), len(below))
                if used + size + 1 > width:
                    groups.append([["REF:"], ["HYP:"], ["    "]])
                    used = len("REF:")
                used += size + 1
                for row, word in zip(groups[-1], (above or "*" * size, below or "*" * size, mark), strict=True):
                    row.append(word.ljust(size))
        return "\n".join(" ".join(row).rstrip() for group in groups for row in group)

    @cached_property
    def _words(self) -> Any:
        import jiwer

        return jiwer.process_words(list(self.references), list(self.hypotheses))


def align(references: Sequence[str], hypotheses: Sequence[str], normalise: Normaliser) -> Alignment:
    """Normalises both; the i-th hypothesis belongs to the i-th reference.

    Raises:
        ValueError: there are not as many of one as of the other.
    """
    pairs = [(normalise(r), normalise(h)) for r, h in zip(references, hypotheses, strict=True)]
    return Alignment([r for r, _ in pairs], [h for _, h in pairs])


def align_all(references: Sequence[str], hypotheses: Sequence[str]) -> dict[str, Alignment]:
    """`align` under each of the normalisers, by name."""
    return {name: align(references, hypotheses, normalise) for name, normalise in NORMALISERS.items()}


def error_rates(references: Sequence[str], hypotheses: Sequence[str], normalise: Normaliser) -> ErrorRates:
    """WER and CER over all pairs (`Alignment.rates`)."""
    return align(references, hypotheses, normalise).rates()


def error_counts(references: Sequence[str], hypotheses: Sequence[str], normalise: Normaliser) -> NDArray[np.int64]:
    """(utterances, 2): wrong words and words of the reference, of each pair (`Alignment.word_counts`).

    The sum of the first by the sum of the second is the WER of `error_rates`.
    """
    return align(references, hypotheses, normalise).word_counts


def _counts(output: Any) -> NDArray[np.int64]:
    """Wrong tokens and tokens of the reference for each pair of jiwer's output."""
    rows = [
        (
            sum(
                max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
                for chunk in chunks
                if chunk.type != "equal"
            ),
            len(reference),
        )
        for reference, chunks in zip(output.references, output.alignments, strict=True)
    ]
    return np.array(rows, np.int64).reshape(-1, 2)
