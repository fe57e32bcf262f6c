"""Metrics of a sequence of edits: average WER, backward transfer (BWT) and forward transfer (FWT).

In a WER matrix, the entry [i, j] is the WER on domain j after edit i, a fraction.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def average_wer(wer: NDArray[np.float64]) -> float:
    """Mean WER over all domains after the last edit.

    Args:
        wer: (T, T) fractions; only the last row is read.

    Raises:
        ValueError: wer is not square, or NaN where it is read.
    """
    _check(wer, 1)
    return _mean(wer[-1])


def backward_transfer(wer: NDArray[np.float64]) -> float:
    """Mean change on earlier domains since the model was adapted to each; negative is forgetting.

    BWT of Lopez-Paz & Ranzato 2017 (arXiv 1706.08840) with the sign turned: they score accuracy,
    which rises when a model improves; WER falls.

    Args:
        wer: (T, T) fractions. wer[i, j] is the WER on domain j after edit i; entries above the
            diagonal, of later domains, are not read and may be NaN.

    Returns:
        The mean over j < T - 1 of wer[j, j] - wer[T - 1, j], a fraction: -0.01 is one point lost.

    Raises:
        ValueError: wer is not square, has fewer than two domains, or is NaN where it is read.
    """
    _check(wer, 2)
    return _mean(np.diagonal(wer)[:-1] - wer[-1, :-1])


def forward_transfer(wer: NDArray[np.float64], base: NDArray[np.float64]) -> float:
    """Mean change on each domain by the edits of earlier domains; positive is an improvement.

    FWT of Lopez-Paz & Ranzato 2017 with the sign turned, against the base model instead of a
    random one.

    Args:
        wer: (T, T) fractions; the entries just above the diagonal are read.
        base: (T,), WER of the base model.

    Returns:
        The mean over j > 0 of base[j] - wer[j - 1, j].

    Raises:
        ValueError: wer is not square, has fewer than two domains, or is NaN where it is read.
    """
    _check(wer, 2)
    return _mean(base[1:] - np.diagonal(wer, offset=1))


def _check(wer: NDArray[np.float64], minimum: int) -> None:
    if wer.ndim != 2 or wer.shape[0] != wer.shape[1] or len(wer) < minimum:
        raise ValueError(f"expected a square matrix of at least {minimum} domains, not one of shape {wer.shape}")


def _mean(values: NDArray[np.float64]) -> float:
    if not np.isfinite(values).all():
        raise ValueError("the matrix has NaN where it is read")
    return float(values.mean())
