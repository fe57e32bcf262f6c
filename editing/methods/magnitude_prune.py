from collections.abc import Sequence

import numpy as np

from editing.layers import Coefficient
from editing.method import Tensors, merge_method
from editing.methods.task_arithmetic import task_arithmetic
from editing.sparsify import Array, Scope, masks


@merge_method("magnitude_prune", paper="arXiv 2306.01708", oracle="PEFT magnitude_prune")
def magnitude_prune(
    vectors: Sequence[Tensors], *, lam: Coefficient = 0.6, density: float = 0.5, scope: Scope = "tensor"
) -> dict[str, Array]:
    """Trims each vector to its largest entries, and adds them: TIES without its vote on signs."""
    return task_arithmetic([trimmed(vector, density, scope) for vector in vectors], lam=lam)


def trimmed(vector: Tensors, density: float, scope: Scope, outliers: float = 0) -> dict[str, Array]:
    """The vector with all but its largest entries zero; `outliers` of the very largest are passed over."""
    kept = masks(vector, density, scope, outliers=outliers)
    return {name: np.where(kept[name], tensor, np.float32(0)) for name, tensor in vector.items()}
