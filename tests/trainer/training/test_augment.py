import numpy as np

from trainer.training.augment import augment


def test_augmentation_is_mild_and_deterministic_for_a_seed(prompt):
    first, same, other = (augment(prompt, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, same)
    assert len(first) != len(other)
    assert 0.89 < len(first) / len(prompt) < 1.12
    assert np.isfinite(first).all()
