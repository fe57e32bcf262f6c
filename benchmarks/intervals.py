"""Confidence intervals of the benchmarks."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray


def difference(before: NDArray[np.int64], after: NDArray[np.int64]) -> tuple[float, float]:
    """The 95 % interval of the difference in WER of two versions, as fractions, by a paired bootstrap of utterances.

    Args:
        before, after: (utterances, 2): word errors and words of each utterance, with either version.
    """

    def statistic(old: Any, new: Any, words: Any, axis: int) -> Any:
        return (new - old).sum(axis=axis) / words.sum(axis=axis)

    samples = (before[:, 0], after[:, 0], before[:, 1])
    if np.array_equal(before, after):
        return 0.0, 0.0
    found = scipy.stats.bootstrap(samples, statistic, paired=True, n_resamples=2000, method="percentile", rng=0)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
