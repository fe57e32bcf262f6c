from collections.abc import Sequence

from editing.layers import Coefficient
from editing.method import Tensors, merge_method
from editing.methods.magnitude_prune import trimmed
from editing.methods.task_arithmetic import task_arithmetic
from editing.sparsify import Array, Scope


@merge_method("breadcrumbs", paper="arXiv 2312.06795", oracle="mergekit's formula, where it keeps as many entries")
def breadcrumbs(
    vectors: Sequence[Tensors],
    *,
    lam: Coefficient = 0.6,
    density: float = 0.5,
    outliers: float = 0.01,
    scope: Scope = "tensor",
) -> dict[str, Array]:
    """Cuts both tails, the very largest entries and the small ones, and adds the vectors."""
    if not 0 <= outliers < 1:
        raise ValueError(f"outliers of {outliers}; it is the fraction of largest entries cut, below 1")
    return task_arithmetic([trimmed(vector, density, scope, outliers) for vector in vectors], lam=lam)
