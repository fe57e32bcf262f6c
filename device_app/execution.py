"""The execution context of long operations: CPU threads and reporter."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from device_app.reporter import Reporter, SilentReporter

LOWER_PRIORITY = 10  # nice value: about a tenth of the CPU time of a process that waits for it too


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
    """Lets other programs, such as the service and what the user works with, have the CPU first from now on."""
    if hasattr(os, "setpriority") and os.getpriority(os.PRIO_PROCESS, 0) < LOWER_PRIORITY:
        os.setpriority(os.PRIO_PROCESS, 0, LOWER_PRIORITY)
