from collections.abc import Sequence
from typing import Annotated

import numpy as np

from editing.layers import coefficient_of, relative_depths
from editing.method import Lambda, Tensors, for_each_tensor, merge_method, sum_tensors
from editing.ranges import Range
from editing.sparsify import Array


@merge_method("lines", paper="arXiv 2410.17146", oracle="the paper's formula")
def lines(
    vectors: Sequence[Tensors], *, lam: Lambda = 0.6, shallowest: Annotated[float, Range(0, 1)] = 0.3
) -> dict[str, Array]:
    """Adds the vectors, scaled by depth: from `shallowest` * lambda at the first layer to lambda at the last.

    LiNeS (layer-increasing network scaling).
    """
    depth = relative_depths(vectors[0])

    def merge(name: str, tensors: list[Array]) -> Array:
        share = shallowest + (1 - shallowest) * depth[name]  # of lambda
        return sum_tensors(tensors) * np.float32(coefficient_of(lam, name) * share)

    return for_each_tensor(vectors, merge)
