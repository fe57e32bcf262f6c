"""Memory during fine-tuning: returns freed memory to the system, and reports when memory runs out."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import psutil

from editing.errors import TrainingError

# Freed memory is returned to the system only above this resident size, or above a quarter of the machine's memory if
# that is less: page faults for returned memory take a third of an update of a small conformer.
MAX_RESIDENT_BYTES = 1.8e9


def return_freed_memory() -> None:
    """Returns freed memory to the system, where the C library is glibc.

    Batches differ in length, so freed blocks seldom fit the next batch. Without this call, the embedded
    model's resident memory grew by 10 MB per update and passed 2.8 GB after 130 updates.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def limit_resident_memory() -> None:
    """Returns freed memory to the system if the resident memory exceeds 1.8 GB or a quarter of the machine's memory."""
    if psutil.Process().memory_info().rss > _max_resident_bytes():
        return_freed_memory()


@cache
def _max_resident_bytes() -> float:
    return min(MAX_RESIDENT_BYTES, psutil.virtual_memory().total / 4)


@contextmanager
def explain_exhaustion(batch_s: float) -> Iterator[None]:
    """Replaces out-of-memory errors of Python and torch with an error that names a remedy.

    Args:
        batch_s: seconds of audio in a batch, for the message.

    Raises:
        TrainingError: memory ran out in the block.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch raises RuntimeError and several subclasses
        if isinstance(error, MemoryError) or "memory" in str(error).lower():
            raise TrainingError(
                f"memory ran out while fine-tuning ({batch_s:g} s of audio at a time); nothing was changed. "
                "Close other programs, or fine-tune on another machine"
            ) from error
        raise
