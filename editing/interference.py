"""Interference between a new task vector and the edits before it."""

from __future__ import annotations

import numpy as np

from editing.method import Tensors, for_each_tensor
from editing.sparsify import Array, magnitude_mask

SHARE = 0.2  # chosen on training utterances (benchmarks/interference.py); more forgets less, and learns less


def without_interference(vector: Tensors, earlier: Tensors, share: float = SHARE) -> dict[str, Array]:
    """Sets the entries of a task vector to zero that oppose earlier edits where those changed the weights most.

    The sign election of TIES (arXiv 2306.01708, step 2) for vectors that arrive one after another: the earlier edits
    were merged, perhaps with their recordings gone, so they keep the sign of the entries that matter most to them.

    Args:
        vector: name to float32 array.
        earlier: the sum of the earlier edits as merged, with the same names and shapes.
        share: the fraction of each tensor's entries, those of largest magnitude in `earlier`, that keep their sign.

    Returns:
        New arrays with the shapes of `vector`.

    Raises:
        BadInputError: the share is not above 0 and at most 1.
    """

    def resolve(_name: str, tensors: list[Array]) -> Array:
        new, old = tensors
        opposes = (np.sign(new) * np.sign(old) < 0) & magnitude_mask(old, share)
        return np.where(opposes, np.float32(0), new)

    return for_each_tensor([vector, earlier], resolve)
