from collections.abc import Sequence
from typing import Annotated

from editing.errors import BadInputError
from editing.method import Density, Lambda, Tensors, merge_method
from editing.methods.magnitude_prune import trim_vector
from editing.methods.task_arithmetic import task_arithmetic
from editing.ranges import Range
from editing.sparsify import Array, Scope


@merge_method("breadcrumbs", paper="arXiv 2312.06795", oracle="mergekit's formula, at equal numbers of entries kept")
def breadcrumbs(
    vectors: Sequence[Tensors],
    *,
    lam: Lambda = 0.6,
    density: Density = 0.5,
    outliers: Annotated[float, Range(0, 1, excludes_most=True)] = 0.01,
    scope: Scope = "tensor",
) -> dict[str, Array]:
    """Removes the largest entries (outliers) and the small ones, then adds the vectors.

    Raises:
        BadInputError: `density` and `outliers` are more than 1 together.
    """
    if density + outliers > 1 + 1e-9:  # a tolerance for rounding
        raise BadInputError(f"outliers is {outliers} and density {density}; together they must be at most 1")
    return task_arithmetic([trim_vector(vector, density, scope, outliers) for vector in vectors], lam=lam)
