import numpy as np

from device_app.audio.samples import SAMPLE_RATE
from trainer.training.augment import augment, augment_strongly


def test_augmentation_is_mild_and_deterministic_for_a_seed(prompt):
    first, same, other = (augment(prompt, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, same)
    assert len(first) != len(other)
    assert 0.89 < len(first) / len(prompt) < 1.12
    assert np.isfinite(first).all()


def test_strong_augmentation_is_deterministic_for_a_seed():
    audio = np.random.default_rng(1).standard_normal(SAMPLE_RATE, np.float32) * np.float32(0.1)
    first, again, other = (augment_strongly(audio, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert len(other) != len(first)
    assert SAMPLE_RATE / 1.25 <= len(first) <= SAMPLE_RATE / 0.8
