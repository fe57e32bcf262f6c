"""Progress and messages of long work, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from device_app.cli import options
from device_app.cli.terminal.progress import finetuning_progress, progress
from device_app.execution import ExecutionContext
from device_app.reporter import OnUpdate


class TerminalReporter:
    """A `device_app.reporter.Reporter` on standard error."""

    def say(self, message: str) -> None:
        options.tell(message)

    @contextmanager
    def progress(self, label: str, total: float) -> Iterator[Callable[[float], None]]:
        with progress(label, total) as advance:
            yield advance

    @contextmanager
    def finetuning(self) -> Iterator[OnUpdate]:
        with finetuning_progress() as show:
            yield show


def terminal_context(threads: int | None) -> ExecutionContext:
    """How a command runs an operation: with --threads, and standard error for progress and messages."""
    return ExecutionContext(threads, TerminalReporter())
