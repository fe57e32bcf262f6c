"""ONNX Runtime sessions with the settings that all models share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from editing.errors import BundleError, one_line
from editing.ranges import Range

THREADS = Range(1, 1024, is_whole=True)  # limits of a number of threads


def available_cores() -> int:
    """CPU cores that this process may use."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, available or 1)


def default_threads() -> int:
    """The cores that this process may use, at most 4, because a small model gains nothing from more."""
    return min(4, available_cores())


def session(path: Path, threads: int) -> Any:
    """An inference session on the CPU.

    Raises:
        BundleError: ONNX Runtime cannot load the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    # A family's sessions take turns. Without this, the threads of a finished session keep spinning and
    # slow down the running one; on 2 cores, that costs a third of the time.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        # ONNX Runtime takes UTF-8 paths only.
        model = str(path) if str(path).isprintable() else path.read_bytes()
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no public base class
        raise BundleError(f"{path}: cannot be loaded ({one_line(str(error))}); install the bundle again") from error
