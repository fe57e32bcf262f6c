import numpy as np
import pytest

SHAPES = {"encoder.layers.0.fc.weight": (7, 5), "decoder.layers.0.fc.weight": (31, 20), "decoder.norm.bias": (9,)}


@pytest.fixture
def vectors():
    """Makes task vectors of the same names, always the same for the same seed."""

    def make(count, seed=0):
        random = np.random.default_rng(seed)
        return [
            {name: random.standard_normal(shape, np.float32) for name, shape in SHAPES.items()} for _ in range(count)
        ]

    return make
