from collections.abc import Sequence
from typing import Annotated

import numpy as np

from editing.errors import BadInputError
from editing.layers import coefficient_of
from editing.method import Lambda, Tensors, for_each_tensor, merge_method
from editing.ranges import Range
from editing.sparsify import Array

NEARLY_PARALLEL = 0.9995  # above this cosine, linear interpolation is as accurate; as in mergekit


@merge_method("slerp", paper="Shoemake 1985, doi 10.1145/325334.325242", oracle="mergekit slerp")
def slerp(
    vectors: Sequence[Tensors], *, lam: Lambda = 1.0, place: Annotated[float, Range(0, 1)] = 0.5
) -> dict[str, Array]:
    """Interpolates along the arc from the first vector (`place` 0) to the second (1), which preserves the length.

    `place` is mergekit's `t`. The arc is that of each tensor, not of the whole vector.

    Raises:
        BadInputError: there are not exactly two vectors.
    """
    if len(vectors) != 2:
        raise BadInputError(f"slerp interpolates between two vectors, not {len(vectors)}")
    return for_each_tensor(
        vectors, lambda name, tensors: _arc(tensors[0], tensors[1], place) * np.float32(coefficient_of(lam, name))
    )


def _arc(first: Array, second: Array, place: float) -> Array:
    """The point at `place` of the arc between two tensors; of the straight line if they are nearly parallel or zero."""
    norms = float(np.linalg.norm(first.astype(np.float64)) * np.linalg.norm(second.astype(np.float64)))
    cosine = float(np.vdot(first.astype(np.float64), second) / norms) if norms else 1.0
    if abs(cosine) > NEARLY_PARALLEL:
        factors = 1 - place, place
    else:
        angle = np.arccos(cosine)
        factors = np.sin((1 - place) * angle) / np.sin(angle), np.sin(place * angle) / np.sin(angle)
    return np.float32(factors[0]) * first + np.float32(factors[1]) * second
