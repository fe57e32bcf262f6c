from collections.abc import Sequence

import numpy as np

from editing.method import Density, Lambda, Tensors, merge_method
from editing.methods.task_arithmetic import task_arithmetic
from editing.sparsify import Array, Scope, masks


@merge_method("magnitude_prune", paper="arXiv 2306.01708", oracle="PEFT magnitude_prune")
def magnitude_prune(
    vectors: Sequence[Tensors], *, lam: Lambda = 0.6, density: Density = 0.5, scope: Scope = "tensor"
) -> dict[str, Array]:
    """Trims each vector to its largest entries, then adds the vectors: TIES without sign election."""
    return task_arithmetic([trim_vector(vector, density, scope) for vector in vectors], lam=lam)


def trim_vector(vector: Tensors, density: float, scope: Scope, outliers: float = 0) -> dict[str, Array]:
    """Sets all but the largest entries to zero, and the fraction `outliers` of the very largest too."""
    kept = masks(vector, density, scope, outliers=outliers)
    return {name: np.where(kept[name], tensor, np.float32(0)) for name, tensor in vector.items()}
