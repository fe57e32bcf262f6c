from collections.abc import Sequence

import numpy as np

from editing.layers import Coefficient, depths, of_name
from editing.method import Tensors, added, for_each_tensor, merge_method
from editing.sparsify import Array


@merge_method("lines", paper="arXiv 2410.17146", oracle="the paper's formula")
def lines(vectors: Sequence[Tensors], *, lam: Coefficient = 0.6, shallowest: float = 0.3) -> dict[str, Array]:
    """Adds the vectors, scaled by depth: `shallowest` of lambda at the first layer, all of it at the last."""
    depth = depths(vectors[0])

    def merge(name: str, tensors: list[Array]) -> Array:
        share = shallowest + (1 - shallowest) * depth[name]
        return added(tensors) * np.float32(of_name(lam, name) * share)

    return for_each_tensor(vectors, merge)
