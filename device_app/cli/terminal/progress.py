"""Progress bars on standard error, if it is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from device_app.reporter import OnUpdate
from editing.printable import printable


@contextmanager
def progress(label: str, total: float, is_shown: bool = True) -> Iterator[Callable[[float], None]]:
    """Shows a progress bar with the time left; yields a function to call with the amount done since the last call.

    Shows nothing if standard error is not a terminal or `is_shown` is false.
    """
    if not is_shown or not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(label), total=total or None)
        yield lambda done: bar.advance(task, done)


@contextmanager
def finetuning_progress() -> Iterator[OnUpdate]:
    """Shows the progress of a fine-tuning with the time left, as `device_app.reporter.Reporter.finetuning`."""
    if not sys.stderr.isatty():
        yield lambda _step, _steps, _epoch, _loss: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("fine-tuning", total=None, loss="")

        def show(step: int, steps: int, epoch: int, loss: float) -> None:
            bar.update(task, total=steps, completed=step, description=f"epoch {epoch}", loss=f"loss {loss:.3f}")

        yield show
