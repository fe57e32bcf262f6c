"""Who receives progress and messages of long work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

# Called after an update of a fine-tuning: number of the update, updates in all, epoch, training loss.
OnUpdate = Callable[[int, int, int, float], None]


class Reporter(Protocol):
    """Receives progress and messages: a terminal, a log, a web page."""

    def say(self, message: str) -> None:
        """Something a person should know."""
        ...

    @contextmanager
    def progress(self, label: str, total: float) -> Iterator[Callable[[float], None]]:
        """Long work of a known size; gives a function to call with how much more is done.

        Args:
            label: what is done.
            total: its size, in any unit.
        """
        ...

    @contextmanager
    def finetuning(self) -> Iterator[OnUpdate]:
        """A fine-tuning; gives a function to call after updates."""
        ...


class SilentReporter:
    """Shows nothing."""

    def say(self, _message: str) -> None: ...

    @contextmanager
    def progress(self, _label: str, _total: float) -> Iterator[Callable[[float], None]]:
        yield lambda _done: None

    @contextmanager
    def finetuning(self) -> Iterator[OnUpdate]:
        yield lambda _update, _updates, _epoch, _loss: None
