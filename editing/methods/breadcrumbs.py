from collections.abc import Sequence

from editing.layers import Coefficient
from editing.method import Tensors, merge_method
from editing.methods.magnitude_prune import trim_vector
from editing.methods.task_arithmetic import task_arithmetic
from editing.sparsify import Array, Scope


@merge_method("breadcrumbs", paper="arXiv 2312.06795", oracle="mergekit's formula, at equal numbers of entries kept")
def breadcrumbs(
    vectors: Sequence[Tensors],
    *,
    lam: Coefficient = 0.6,
    density: float = 0.5,
    outliers: float = 0.01,
    scope: Scope = "tensor",
) -> dict[str, Array]:
    """Removes the largest entries (outliers) and the small ones, then adds the vectors."""
    if not 0 <= outliers < 1:
        raise ValueError(f"outliers of {outliers}; it is the fraction of largest entries removed, below 1")
    return task_arithmetic([trim_vector(vector, density, scope, outliers) for vector in vectors], lam=lam)
