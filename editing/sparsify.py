"""Sparsification of task vectors: trimming by magnitude and random dropping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from editing.ranges import Range

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Scope = Literal["tensor", "global"]  # what a density is a fraction of; see `masks`
DENSITY = Range(0, 1, excludes_least=True)  # the values of a density, which is the fraction of entries kept


def entries_kept(size: int, density: float) -> int:
    """The number of entries, of `size`, that a density keeps.

    That is floor(size * density), computed with the density as a decimal number (29 of 100 at 0.29, where
    int(0.29 * 100) is 28), and at least 1 if `size` is not 0.

    Raises:
        BadInputError: the density is not above 0 and at most 1.
    """
    DENSITY.check("density", density)
    return max(min(size, 1), _share(size, density))


def _share(size: int, fraction: float) -> int:
    """floor(size * fraction), computed with the fraction as the decimal number that was written."""
    return math.floor(Fraction(str(fraction)) * size)


def magnitude_mask(tensor: Array, density: float, *, top: int = 0) -> Mask:
    """Selects the entries of largest magnitude.

    Args:
        tensor: of any shape.
        density: the fraction to keep.
        top: number of largest entries to exclude; fewer are excluded if too few entries would remain.

    Returns:
        A mask of the tensor's shape. Among equal magnitudes the first entries are selected.
    """
    size = tensor.size
    kept = entries_kept(size, density)
    top = min(top, size - kept)
    magnitude = np.abs(tensor).reshape(-1)
    mask = _largest(magnitude, top + kept)
    if top:
        mask &= ~_largest(magnitude, top)
    return mask.reshape(tensor.shape)


def _largest(magnitude: Array, count: int) -> Mask:
    """A mask (size,) of the `count` largest entries; ties are resolved in favour of the first."""
    if count >= len(magnitude):
        return np.ones(len(magnitude), np.bool_)
    threshold = np.partition(magnitude, len(magnitude) - count)[len(magnitude) - count]
    mask: Mask = magnitude > threshold
    equal = np.flatnonzero(magnitude == threshold)
    mask[equal[: count - int(np.count_nonzero(mask))]] = True
    return mask


def masks(
    vector: Mapping[str, Array], density: float, scope: Scope = "tensor", *, outliers: float = 0
) -> dict[str, Mask]:
    """Applies `magnitude_mask` to each tensor, or to all of them together.

    Args:
        vector: name to tensor.
        density: the fraction to keep.
        scope: "tensor" keeps this fraction of each tensor (PEFT, mergekit); "global" of the whole
            vector (the authors of TIES).
        outliers: the fraction of largest entries to exclude, as `top` of `magnitude_mask`: floor(size * outliers),
            computed as in `entries_kept`.

    Returns:
        The mask of each tensor, by name; none if the vector has no tensors.

    Raises:
        BadInputError: the density is not above 0 and at most 1.
    """
    DENSITY.check("density", density)
    if not vector:
        return {}
    if scope == "tensor":
        return {name: magnitude_mask(t, density, top=_share(t.size, outliers)) for name, t in vector.items()}
    together = np.concatenate([tensor.reshape(-1) for tensor in vector.values()])
    mask = magnitude_mask(together, density, top=_share(len(together), outliers))
    ends = np.cumsum([tensor.size for tensor in vector.values()])[:-1]
    parts = np.split(mask, ends)
    return {name: part.reshape(vector[name].shape) for name, part in zip(vector, parts, strict=True)}


def trim(tensor: Array, density: float) -> Array:
    """Keeps the entries of largest magnitude and sets the others to zero (TIES, arXiv 2306.01708, step 1)."""
    return np.where(magnitude_mask(tensor, density), tensor, np.float32(0))


def drop(tensor: Array, density: float, random: np.random.Generator) -> Array:
    """Drops entries at random and divides the rest by the density, which preserves the expected value.

    DARE, arXiv 2311.03099. Each entry is kept with probability `density`, as in the paper and in PEFT.

    Returns:
        A tensor of the same shape; at a density of 1 the tensor itself, not a copy.

    Raises:
        BadInputError: the density is not above 0 and at most 1.
    """
    DENSITY.check("density", density)
    if density == 1:
        return tensor
    kept = random.random(tensor.shape, np.float32) < density
    return np.where(kept, tensor / np.float32(density), np.float32(0))
