"""Who is told how long work goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Screen(Protocol):
    """Whoever is told how it goes."""

    def say(self, message: str) -> None:
        """Something a person should know."""
        ...

    @contextmanager
    def progress(self, label: str, total: float) -> Iterator[Callable[[float], None]]:
        """Long work that is `total` long; call what it gives with how much more is done."""
        ...


class Silent:
    """A screen that shows nothing."""

    def say(self, _message: str) -> None: ...

    @contextmanager
    def progress(self, _label: str, _total: float) -> Iterator[Callable[[float], None]]:
        yield lambda _done: None
