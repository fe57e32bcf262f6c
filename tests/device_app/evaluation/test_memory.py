"""The measured peak against memory that a process of the test's own allocates and frees."""

import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
from device_app.evaluation.memory import peak_memory_mb, reset_peak_memory

reset_peak_memory()
before = peak_memory_mb()
np.ones(200_000_000, np.uint8)  # freed at once
assert peak_memory_mb() > before + 150, (peak_memory_mb(), before)
reset_peak_memory()
assert peak_memory_mb() < before + 50, (peak_memory_mb(), before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the peak")
def test_the_peak_remains_after_freeing_until_it_is_reset():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
