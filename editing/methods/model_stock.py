from collections.abc import Sequence
from itertools import combinations

import numpy as np

from editing.layers import Coefficient, of_name
from editing.method import Tensors, added, for_each_tensor, merge_method
from editing.sparsify import Array


@merge_method("model_stock", paper="arXiv 2403.19522", oracle="mergekit model_stock, where vectors do not point apart")
def model_stock(vectors: Sequence[Tensors], *, lam: Coefficient = 1.0) -> dict[str, Array]:
    """Averages the vectors, and shortens the mean the more the wider the angle between them is."""
    if len(vectors) < 2:
        raise ValueError("model_stock goes by the angle between vectors; it takes two or more")

    def merge(name: str, tensors: list[Array]) -> Array:
        share = _share(tensors)
        return added(tensors) * np.float32(of_name(lam, name) * share / len(tensors))

    return for_each_tensor(vectors, merge)


def _share(tensors: Sequence[Array]) -> float:
    """t = N cos / (1 + (N - 1) cos), the paper's equation 4; 0 where the vectors point apart."""
    norms = [float(np.linalg.norm(tensor.astype(np.float64))) for tensor in tensors]
    cosines = [
        float(np.vdot(tensors[i].astype(np.float64), tensors[j])) / max(norms[i] * norms[j], 1e-12)
        for i, j in combinations(range(len(tensors)), 2)
    ]
    cosine = max(0.0, float(np.mean(cosines)))
    count = len(tensors)
    return count * cosine / (1 + (count - 1) * cosine)
