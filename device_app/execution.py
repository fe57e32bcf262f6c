"""The execution context of long operations: CPU threads and reporter."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from device_app.reporter import Reporter, SilentReporter

LOWER_PRIORITY = 10  # nice value; beside a process of normal priority, about a tenth of the CPU time


@dataclass(frozen=True)
class ExecutionContext:
    """How an operation runs; does not affect its result.

    Attributes:
        threads: CPU threads of the recogniser; None for the default.
        reporter: receives progress and messages.
    """

    threads: int | None = None
    reporter: Reporter = field(default_factory=SilentReporter)


def lower_priority() -> None:
    """Gives other programs, such as the service and what the user works with, precedence on the CPU from now on.

    On Linux this changes the calling thread and the threads that it starts later, so call it before any work.
    """
    if hasattr(os, "setpriority") and os.getpriority(os.PRIO_PROCESS, 0) < LOWER_PRIORITY:
        os.setpriority(os.PRIO_PROCESS, 0, LOWER_PRIORITY)
