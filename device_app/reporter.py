"""The interface through which long operations report progress and messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

# Called after an update of a fine-tuning: number of the update, total number of updates, epoch, training loss.
OnUpdate = Callable[[int, int, int, float], None]


class Reporter(Protocol):
    """Receives progress and messages: a terminal, a log, a web page."""

    def report(self, message: str) -> None:
        """Shows a message to the user."""
        ...

    @contextmanager
    def progress(self, label: str, total: float) -> Iterator[Callable[[float], None]]:
        """Reports the progress of an operation; yields a function to call with the amount done since the last call.

        Args:
            label: what is done.
            total: total amount, in any unit.
        """
        ...

    @contextmanager
    def finetuning(self) -> Iterator[OnUpdate]:
        """Reports the progress of a fine-tuning; yields a function to call after updates."""
        ...


class SilentReporter:
    """Shows nothing."""

    def report(self, _message: str) -> None: ...

    @contextmanager
    def progress(self, _label: str, _total: float) -> Iterator[Callable[[float], None]]:
        yield lambda _done: None

    @contextmanager
    def finetuning(self) -> Iterator[OnUpdate]:
        yield lambda _update, _updates, _epoch, _loss: None
