"""Metrics of the benchmark: WER of a test split, WERR, coverage and significance."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray


class WordErrors(TypedDict):
    """For each utterance of a test split: the number of word errors and of reference words."""

    wrong: list[int]
    words: list[int]


def wer(errors: WordErrors | None) -> float:
    """The WER of a test split as a fraction; NaN if not measured."""
    return sum(errors["wrong"]) / max(1, sum(errors["words"])) if errors else float("nan")


def relative_reduction(wer: float, reference: float) -> float | None:
    """WERR: the reduction of the WER relative to a reference WER; negative if the WER is higher.

    None if the reference is 0, where it is undefined.
    """
    return (reference - wer) / reference if reference > 0 else None


def coverage(wer: float, fine_tuned: float, separate: float) -> float:
    """Coverage: 0 at the WER of fine-tuning, 1 at that of separate models, linear in between and beyond.

    As in CL-MASR and in KU Leuven's work.

    Raises:
        ValueError: separate models have no lower WER than fine-tuning.
    """
    if fine_tuned <= separate:
        raise ValueError("separate models have no lower WER than fine-tuning")
    return (fine_tuned - wer) / (fine_tuned - separate)


def significance(rates: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """p of the Wilcoxon signed-rank test on paired WERs of utterances, (utterances,) each; 1 if all pairs are equal."""
    from scipy.stats import wilcoxon

    difference = rates - others
    return float(wilcoxon(difference).pvalue) if np.any(difference) else 1.0
