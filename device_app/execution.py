"""The execution context of long operations: CPU threads and reporter."""

from __future__ import annotations

from dataclasses import dataclass, field

from device_app.reporter import Reporter, SilentReporter


@dataclass(frozen=True)
class ExecutionContext:
    """How an operation runs; does not affect its result.

    Attributes:
        threads: CPU threads of the recogniser; None for the default.
        reporter: receives progress and messages.
    """

    threads: int | None = None
    reporter: Reporter = field(default_factory=SilentReporter)
