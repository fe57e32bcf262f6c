"""Progress on standard error: bars at a terminal, a line now and then elsewhere, such as in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from device_app.cli.printing import echo
from device_app.reporter import OnUpdate
from editing.printable import printable

LINE_S = 10.0  # between two lines


class _Lines:
    """Prints lines, none before `LINE_S` have passed since the start or the line before."""

    def __init__(self) -> None:
        self._printed = time.monotonic()

    def show(self, line: str) -> None:
        """Prints a line if it is time for one."""
        now = time.monotonic()
        if now - self._printed >= LINE_S:
            self._printed = now
            echo(line, err=True)


@contextmanager
def progress(label: str, total: float, is_shown: bool = True) -> Iterator[Callable[[float], None]]:
    """Shows a progress bar with the time left; yields a function to call with the amount done since the last call.

    Prints a line now and then if standard error is not a terminal, and shows nothing if `is_shown` is false.
    """
    if not is_shown:
        yield lambda _done: None
        return
    if not sys.stderr.isatty():
        done = 0.0
        lines = _Lines()

        def add(more: float) -> None:
            nonlocal done
            done += more
            lines.show(f"{label}: {done / total:.0%}" if total else f"{label} ...")

        yield add
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(label), total=total or None)
        yield lambda done: bar.advance(task, done)


@contextmanager
def finetuning_progress() -> Iterator[OnUpdate]:
    """Shows the progress of a fine-tuning with the time left, as `device_app.reporter.Reporter.finetuning`."""
    if not sys.stderr.isatty():
        lines = _Lines()
        yield lambda step, steps, epoch, loss: lines.show(
            f"fine-tuning: {step / max(1, steps):.0%}, epoch {epoch}, loss {loss:.3f}"
        )
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("fine-tuning", total=None, loss="")

        def show(step: int, steps: int, epoch: int, loss: float) -> None:
            bar.update(task, total=steps, completed=step, description=f"epoch {epoch}", loss=f"loss {loss:.3f}")

        yield show
