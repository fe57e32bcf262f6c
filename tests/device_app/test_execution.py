"""The execution context of long operations."""

import os
import subprocess
import sys

import pytest

from device_app.execution import LOWER_PRIORITY


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="this system has no priorities of processes")
def test_a_long_operation_lets_other_programs_go_first():
    script = (
        "import os; from device_app.execution import lower_priority; "
        "lower_priority(); lower_priority(); print(os.getpriority(os.PRIO_PROCESS, 0))"
    )
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert int(shown) >= LOWER_PRIORITY
