"""Metrics of the benchmark: WER of a test part, WERR, coverage, and significance."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray


class WordErrors(TypedDict):
    """Of each utterance of a test part: wrong words, and words of the reference."""

    wrong: list[int]
    words: list[int]


def wer(errors: WordErrors | None) -> float:
    """The WER of a test part, a fraction; NaN where it was not measured."""
    return sum(errors["wrong"]) / max(1, sum(errors["words"])) if errors else float("nan")


def relative_reduction(wer: float, reference: float) -> float:
    """WERR: how much lower a WER is than another, as a fraction of that; negative is worse.

    Raises:
        ValueError: the reference is 0, so that nothing can be lower.
    """
    if reference <= 0:
        raise ValueError("WERR against a WER of 0")
    return (reference - wer) / reference


def coverage(wer: float, fine_tuned: float, separate: float) -> float:
    """The fraction of the gap between fine-tuning (0) and a model for each domain (1) that is closed.

    As in CL-MASR and in KU Leuven's work.

    Raises:
        ValueError: separate models are no better than fine-tuning, so there is no gap.
    """
    if fine_tuned <= separate:
        raise ValueError("separate models are no better than fine-tuning")
    return (fine_tuned - wer) / (fine_tuned - separate)


def significance(rates: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """p of the Wilcoxon signed-rank test over the same utterances' WERs, (utterances,) each; 1 where all are equal."""
    from scipy.stats import wilcoxon

    difference = rates - others
    return float(wilcoxon(difference).pvalue) if np.any(difference) else 1.0
