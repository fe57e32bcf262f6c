"""What every long operation is given beside its own settings: CPU threads, and who receives progress."""

from __future__ import annotations

from dataclasses import dataclass, field

from device_app.reporter import Reporter, SilentReporter


@dataclass(frozen=True)
class ExecutionContext:
    """How an operation runs; it changes no result.

    Attributes:
        threads: CPU threads of the recogniser; None for its default.
        reporter: receives progress and messages.
    """

    threads: int | None = None
    reporter: Reporter = field(default_factory=SilentReporter)
