"""A recogniser for several callers at once, such as the clients of a service.

A segment takes less time with several threads, but several segments at once take more, because their threads compete
for the cores: on two cores 0.65 and 1.5 times as long as with one thread each (Moonshine Tiny, 2026-11-27).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import Samples
from device_app.data.terms import Term
from device_app.recognition.families import Recogniser
from device_app.recognition.results import Recognition
from editing.errors import AsrEdgeError

# Seconds after two calls at once in which a call counts as one of several. Between two segments, a client reads audio
# and looks for speech, and must not seem to have left.
HOLD_S = 1.0


class Callers:
    """Knows whether there are several callers."""

    def __init__(self, hold_s: float = HOLD_S) -> None:
        """`hold_s`: see `HOLD_S`."""
        self._hold_s = hold_s
        self._calls = 0  # in progress
        self._overlap = -math.inf  # when there were last several, in seconds of the monotonic clock
        self._lock = threading.Lock()

    @contextmanager
    def call(self) -> Iterator[bool]:
        """Counts a call as long as the block runs; gives the block whether its caller is the only one."""
        with self._lock:
            self._calls += 1
            self._note_overlap()
            is_only = self._calls == 1 and time.monotonic() - self._overlap > self._hold_s
        try:
            yield is_only
        finally:
            with self._lock:
                self._note_overlap()
                self._calls -= 1

    def _note_overlap(self) -> None:
        if self._calls > 1:
            self._overlap = time.monotonic()


class SharedCoresRecogniser:
    """A `device_app.recognition.families.Recogniser` that uses several threads for a segment if there is one caller."""

    def __init__(
        self, alone: Recogniser, load_together: Callable[[], Recogniser], callers: Callers | None = None
    ) -> None:
        """
        Args:
            alone: the model, loaded with the threads that one segment may use.
            load_together: loads the same model with one thread. It is called when there are several callers for the
                first time, because the second copy takes 60 MB.
            callers: the counter that recognisers of the same model share; None makes one.
        """
        self._alone, self._load_together = alone, load_together
        self._callers = callers or Callers()
        self._loaded: Recogniser | None = None
        self._loading = threading.Lock()

    def recognise(self, audio: Samples, *, is_draft: bool = False) -> Recognition:
        with self._callers.call() as is_only:
            return (self._alone if is_only else self._together).recognise(audio, is_draft=is_draft)

    @property
    def _together(self) -> Recogniser:
        """The model with one thread; the other one if its files are no longer there, as after an update."""
        with self._loading:
            if self._loaded is None:
                try:
                    self._loaded = self._load_together()
                except AsrEdgeError:
                    return self._alone
            return self._loaded

    def log_probabilities(self, audio: Samples, text: str) -> NDArray[np.float32]:
        return self._alone.log_probabilities(audio, text)

    def with_keyterms(self, keyterms: Sequence[Term | str]) -> SharedCoresRecogniser:
        alone = self._alone.with_keyterms(keyterms)
        return SharedCoresRecogniser(alone, lambda: self._together.with_keyterms(keyterms), self._callers)

    def text_loss(self, log_probabilities: NDArray[np.float32], text: str) -> float | None:
        return self._alone.text_loss(log_probabilities, text)
