"""Parity checks between the outputs of torch and of the graphs. The caller computes the outputs; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from editing.errors import BundleError, counted

TOLERANCE = 1e-4  # of `largest_difference`


class ParityError(BundleError):
    """The outputs of a graph differ from those of the model that it was exported from."""


def largest_difference(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """The largest absolute difference of two arrays, divided by the largest expected magnitude if that exceeds 1.

    Raises:
        ParityError: the shapes differ, or a value is not finite.
    """
    if expected.shape != found.shape:
        raise ParityError(f"shape {found.shape}, expected {expected.shape}")
    if not (np.isfinite(expected).all() and np.isfinite(found).all()):
        raise ParityError("values that are not finite")
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    return float(np.abs(expected - found).max(initial=0)) / scale


def check_numbers(expected: Mapping[str, NDArray[np.float32]], found: Mapping[str, NDArray[np.float32]]) -> float:
    """Compares outputs by name; returns the largest difference.

    Raises:
        ParityError: an output is missing or differs by more than `TOLERANCE`; the message names it.
    """
    worst = 0.0
    for name, values in expected.items():
        if name not in found:
            raise ParityError(f"{name}: the graph has no such output")
        try:
            difference = largest_difference(values, found[name])
        except ParityError as error:
            raise ParityError(f"{name}: {error}") from error
        if difference > TOLERANCE:
            raise ParityError(f"{name}: differs by {difference:.1e}, more than {TOLERANCE:.0e}")
        worst = max(worst, difference)
    return worst


def check_tokens(expected: Sequence[int], found: Sequence[int]) -> None:
    """Compares sequences of token ids.

    Raises:
        ParityError: they differ; the message names the first position.
    """
    for position, (one, other) in enumerate(zip(expected, found, strict=False)):
        if one != other:
            raise ParityError(f"token {position}: {other}, expected {one}")
    if len(expected) != len(found):
        raise ParityError(f"{counted(len(found), 'token')}, expected {len(expected)}")
