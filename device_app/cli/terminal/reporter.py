"""Reports progress and messages of long operations on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from device_app.cli import options
from device_app.cli.terminal.progress import finetuning_progress, progress
from device_app.execution import ExecutionContext
from device_app.reporter import OnUpdate


class TerminalReporter:
    """A `device_app.reporter.Reporter` that writes to standard error."""

    def report(self, message: str) -> None:
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
    """The execution context of a command: --threads, with progress and messages on standard error."""
    return ExecutionContext(threads, TerminalReporter())
