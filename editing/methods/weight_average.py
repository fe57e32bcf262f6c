from collections.abc import Sequence

import numpy as np

from editing.layers import coefficient_of
from editing.method import Lambda, Tensors, for_each_tensor, merge_method, sum_tensors
from editing.sparsify import Array


@merge_method("weight_average", paper="arXiv 2203.05482", oracle="the mean of the models' weights")
def weight_average(vectors: Sequence[Tensors], *, lam: Lambda = 1.0) -> dict[str, Array]:
    """Averages the vectors; at lambda 1 this is the mean of the fine-tuned models (model soup)."""
    return for_each_tensor(
        vectors, lambda name, tensors: sum_tensors(tensors) * np.float32(coefficient_of(lam, name) / len(tensors))
    )
