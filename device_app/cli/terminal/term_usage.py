"""Counts how often terms match while recordings are transcribed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from device_app.cli import options
from editing.errors import AsrEdgeError

if TYPE_CHECKING:
    from device_app.recognition.results import TranscriptSegment


@contextmanager
def counting_terms() -> Iterator[Callable[[TranscriptSegment], None]]:
    """Yields a function that counts the terms of a segment; if they cannot be counted, that is reported once."""
    from device_app.data.terms.usage import UsageCounter

    counter = UsageCounter()
    is_counting = True

    def attempt(count: Callable[[], None]) -> None:
        """Counts, unless that has failed before."""
        nonlocal is_counting
        try:
            if is_counting:
                count()
        except AsrEdgeError as error:
            is_counting = False
            options.tell(f"Matches of terms are not counted: {error}")

    try:
        yield lambda segment: attempt(lambda: counter.add((one.term, one.is_helped) for one in segment.terms))
    finally:
        attempt(counter.write)
