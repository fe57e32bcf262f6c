"""The measured peak against memory that the test itself allocates and frees."""

import sys

import numpy as np
import pytest

from device_app.evaluation.memory import peak_memory_mb, reset_peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the peak")
def test_the_peak_remains_after_freeing_until_it_is_reset():
    reset_peak_memory()
    before = peak_memory_mb()
    np.ones(200_000_000, np.uint8)  # freed at once
    assert peak_memory_mb() > before + 150
    reset_peak_memory()
    assert peak_memory_mb() < before + 50
