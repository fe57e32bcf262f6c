from collections.abc import Sequence
from zlib import crc32

import numpy as np

from editing.method import Density, Lambda, Seed, Tensors, merge_method
from editing.methods.task_arithmetic import task_arithmetic
from editing.sparsify import Array, drop


@merge_method("dare_linear", paper="arXiv 2311.03099", oracle="PEFT dare_linear, with the same random entries")
def dare_linear(
    vectors: Sequence[Tensors], *, lam: Lambda = 0.4, density: Density = 0.5, seed: Seed = 0
) -> dict[str, Array]:
    """Drops entries at random, divides the rest by the density, then adds the vectors."""
    return task_arithmetic(drop_entries(vectors, density, seed), lam=lam)


def drop_entries(vectors: Sequence[Tensors], density: float, seed: int) -> list[dict[str, Array]]:
    """Drops entries at random; the choice depends only on the seed, the vector's index and the tensor's name."""
    return [
        {
            name: drop(tensor, density, np.random.default_rng((seed, index, crc32(name.encode()))))
            for name, tensor in vector.items()
        }
        for index, vector in enumerate(vectors)
    ]
