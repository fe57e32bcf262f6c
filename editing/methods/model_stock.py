from collections.abc import Sequence
from itertools import combinations

import numpy as np

from editing.errors import BadInputError
from editing.layers import coefficient_of
from editing.method import Lambda, Tensors, for_each_tensor, merge_method, sum_tensors
from editing.sparsify import Array


@merge_method("model_stock", paper="arXiv 2403.19522", oracle="mergekit model_stock, at cosines of 0 and above")
def model_stock(vectors: Sequence[Tensors], *, lam: Lambda = 1.0) -> dict[str, Array]:
    """Averages the vectors and shrinks the mean: the wider the angle between the vectors, the more.

    Raises:
        BadInputError: there is only one vector.
    """
    if len(vectors) < 2:
        raise BadInputError("model_stock uses the angles between vectors; it needs two or more")

    def merge(name: str, tensors: list[Array]) -> Array:
        ratio = _interpolation_ratio(tensors)
        return sum_tensors(tensors) * np.float32(coefficient_of(lam, name) * ratio / len(tensors))

    return for_each_tensor(vectors, merge)


def _interpolation_ratio(tensors: Sequence[Array]) -> float:
    """t = N cos / (1 + (N - 1) cos), equation 4 of the paper.

    cos is the mean cosine of all pairs of the N tensors; a negative mean counts as 0. A tensor of zeros has cosine 0.
    """
    norms = [float(np.linalg.norm(tensor.astype(np.float64))) for tensor in tensors]
    cosines = [
        float(np.vdot(tensors[i].astype(np.float64), tensors[j])) / max(norms[i] * norms[j], 1e-12)
        for i, j in combinations(range(len(tensors)), 2)
    ]
    cosine = max(0.0, float(np.mean(cosines)))
    count = len(tensors)
    return count * cosine / (1 + (count - 1) * cosine)
