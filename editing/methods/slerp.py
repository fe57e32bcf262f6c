from collections.abc import Sequence

import numpy as np

from editing.layers import Coefficient, coefficient_of
from editing.method import Tensors, for_each_tensor, merge_method
from editing.sparsify import Array

NEARLY_PARALLEL = 0.9995  # above this cosine, linear interpolation is as accurate; as in mergekit


@merge_method("slerp", paper="Shoemake 1985, doi 10.1145/325334.325242", oracle="mergekit slerp")
def slerp(vectors: Sequence[Tensors], *, lam: Coefficient = 1.0, place: float = 0.5) -> dict[str, Array]:
    """Interpolates between two vectors along the arc, which preserves the length."""
    if len(vectors) != 2:
        raise ValueError(f"slerp interpolates between two vectors; it takes two, not {len(vectors)}")
    if not 0 <= place <= 1:
        raise ValueError(f"a place of {place}; 0 is the first vector, 1 the second")
    return for_each_tensor(
        vectors, lambda name, tensors: _arc(tensors[0], tensors[1], place) * np.float32(coefficient_of(lam, name))
    )


def _arc(first: Array, second: Array, place: float) -> Array:
    norms = float(np.linalg.norm(first.astype(np.float64)) * np.linalg.norm(second.astype(np.float64)))
    cosine = float(np.vdot(first.astype(np.float64), second) / norms) if norms else 1.0
    if abs(cosine) > NEARLY_PARALLEL:
        shares = 1 - place, place
    else:
        angle = np.arccos(cosine)
        shares = np.sin((1 - place) * angle) / np.sin(angle), np.sin(place * angle) / np.sin(angle)
    return np.float32(shares[0]) * first + np.float32(shares[1]) * second
