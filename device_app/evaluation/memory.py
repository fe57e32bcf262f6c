"""Peak memory of this process."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

PROCESS = Path("/proc/self")


def peak_memory_mb() -> float:
    """The peak resident memory since the process started, or since `reset_peak_memory`, in MB (10^6 bytes).

    NaN if the platform does not report it.
    """
    with suppress(OSError, StopIteration):
        lines = (PROCESS / "status").read_text().splitlines()
        peak_kib = int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
        return peak_kib * 1024 / 1e6
    if sys.platform == "win32":
        return float("nan")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def reset_peak_memory() -> None:
    """Resets the peak, so that the peak of one task is not reported for the next; Linux only."""
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text("5")  # sets VmHWM to the present size, see proc(5)
