"""ONNX Runtime sessions, set up the same way everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from editing.errors import BundleError


def available_cores() -> int:
    """CPU cores that this process may use."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, available or 1)


def default_threads() -> int:
    """As many as this process may use, at most 4: more gain a small model nothing."""
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
    # A family's sessions take turns. Without this, the threads of the one that has finished spin
    # on against the one that is running: a third of the time on 2 cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own kinds share no public base
        raise BundleError(f"{path}: cannot be loaded ({error}); install the bundle again") from error
