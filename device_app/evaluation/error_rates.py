"""Word and character error rates under two named normalisers, always shown together.

`basic` takes case and punctuation off. `english` is Whisper's English normaliser (spelling,
numbers, contractions), after which every digit stands alone: one reference writes "1 9 8 4",
another "1984", and a recogniser is to be judged by what it heard.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
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


@dataclass(frozen=True)
class ErrorRates:
    """Fractions, not per cent; above 1 where more was heard than said."""

    wer: float
    cer: float


def error_rates(references: Sequence[str], hypotheses: Sequence[str], normalise: Normaliser) -> ErrorRates:
    """WER and CER over all pairs, by jiwer; the i-th hypothesis belongs to the i-th reference.

    An empty hypothesis counts as all words deleted. Where no reference has a word, a rate is 0
    if nothing was heard and 1 if anything was.
    """
    import jiwer

    pairs = [(normalise(r), normalise(h)) for r, h in zip(references, hypotheses, strict=True)]
    said, heard = [r for r, _ in pairs], [h for _, h in pairs]
    if not any(said):
        rate = 1.0 if any(heard) else 0.0
        return ErrorRates(rate, rate)
    return ErrorRates(float(jiwer.wer(said, heard)), float(jiwer.cer(said, heard)))


def error_counts(references: Sequence[str], hypotheses: Sequence[str], normalise: Normaliser) -> NDArray[np.int64]:
    """(utterances, 2): wrong words (substituted, deleted, inserted) and words said, of each pair.

    The sum of the first by the sum of the second is the WER of `error_rates`.
    """
    import jiwer

    rows = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        said, heard = normalise(reference), normalise(hypothesis)
        if said:
            output = jiwer.process_words([said], [heard])
            rows.append((output.substitutions + output.deletions + output.insertions, len(said.split())))
        else:
            rows.append((len(heard.split()), 0))
    return np.array(rows, np.int64).reshape(-1, 2)


def all_error_rates(references: Sequence[str], hypotheses: Sequence[str]) -> dict[str, ErrorRates]:
    """`error_rates` under each of the normalisers, by name."""
    return {name: error_rates(references, hypotheses, normalise) for name, normalise in NORMALISERS.items()}


def aligned(reference: str, hypothesis: str, normalise: Normaliser, width: int = 100) -> str:
    """Reference and hypothesis, word under word: REF, HYP, and S, D or I below.

    Args:
        reference: what was said.
        hypothesis: what was heard.
        normalise: both are shown as it makes them.
        width: lines that would be longer go on in another group of three.
    """
    import jiwer

    output = jiwer.process_words([normalise(reference)], [normalise(hypothesis)])
    groups: list[list[list[str]]] = []
    used = width
    for chunk in output.alignments[0]:
        said = output.references[0][chunk.ref_start_idx : chunk.ref_end_idx]
        heard = output.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx]
        mark = {"substitute": "S", "delete": "D", "insert": "I", "equal": ""}[chunk.type]
        for above, below in zip_longest(said, heard, fillvalue=""):
            size = max(len(above), len(below))
            if used + size + 1 > width:
                groups.append([["REF:"], ["HYP:"], ["    "]])
                used = len("REF:")
            used += size + 1
            for row, word in zip(groups[-1], (above or "*" * size, below or "*" * size, mark), strict=True):
                row.append(word.ljust(size))
    return "\n".join(" ".join(row).rstrip() for group in groups for row in group)
