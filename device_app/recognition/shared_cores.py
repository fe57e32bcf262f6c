"""A recogniser for several callers at once, such as the clients of a service.

A segment takes less time with several threads, but several segments at once take more, because their threads compete
for the cores: on two cores 0.65 and 1.5 times as long as with one thread each (Moonshine Tiny, 2026-11-27).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import Samples
from device_app.data.terms import Term
from device_app.recognition.families import Recogniser
from device_app.recognition.results import Recognition


class Callers:
    """Counts the calls in progress."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()

    @contextmanager
    def one_more(self) -> Iterator[bool]:
        """Counts a call as long as the block runs; gives the block whether it is the only one as it begins."""
        with self._lock:
            self._count += 1
            is_alone = self._count == 1
        try:
            yield is_alone
        finally:
            with self._lock:
                self._count -= 1


class SharedCoresRecogniser:
    """A `device_app.recognition.families.Recogniser` that gives a segment several threads if it is the only one."""

    def __init__(self, alone: Recogniser, together: Recogniser, callers: Callers | None = None) -> None:
        """
        Args:
            alone: the model, loaded with the threads that one segment may use.
            together: the same model, loaded with one thread.
            callers: the counter that recognisers of the same model share; None makes one.
        """
        self._alone, self._together = alone, together
        self._callers = callers or Callers()

    def recognise(self, audio: Samples, *, is_draft: bool = False) -> Recognition:
        with self._callers.one_more() as is_alone:
            return (self._alone if is_alone else self._together).recognise(audio, is_draft=is_draft)

    def log_probabilities(self, audio: Samples, text: str) -> NDArray[np.float32]:
        return self._together.log_probabilities(audio, text)

    def with_keyterms(self, keyterms: Sequence[Term | str]) -> SharedCoresRecogniser:
        alone, together = self._alone.with_keyterms(keyterms), self._together.with_keyterms(keyterms)
        return SharedCoresRecogniser(alone, together, self._callers)

    def text_loss(self, log_probabilities: NDArray[np.float32], text: str) -> float | None:
        return self._together.text_loss(log_probabilities, text)
