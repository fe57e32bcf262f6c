from collections.abc import Sequence

import numpy as np

from editing.layers import coefficient_of
from editing.method import Lambda, Tensors, for_each_tensor, merge_method, sum_tensors
from editing.sparsify import Array


@merge_method("task_arithmetic", paper="arXiv 2212.04089", oracle="PEFT task_arithmetic")
def task_arithmetic(vectors: Sequence[Tensors], *, lam: Lambda = 0.4) -> dict[str, Array]:
    """Adds the vectors and scales the sum by lambda."""

    def merge(name: str, tensors: list[Array]) -> Array:
        coefficient = np.float32(coefficient_of(lam, name))
        if len(tensors) == 1:
            return tensors[0] * coefficient
        total = sum_tensors(tensors)
        total *= coefficient
        return total

    return for_each_tensor(vectors, merge)
