"""A file that only takes up space, so that there is some for deleting when the disk is full."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from editing.errors import StorageError
from editing.files import write_atomically

NAME = "reserve"
SIZE = 256 << 10  # bytes; the journal of a deletion needs a page of 4 KiB for each row and index that it changes


def ensure(folder: Path) -> None:
    """Writes the reserve of a store unless it is there; does nothing if the disk is full."""
    if not (folder / NAME).exists():
        with suppress(StorageError):
            write_atomically(folder / NAME, os.urandom(SIZE), private=True)  # random, as file systems compress zeros


def release(folder: Path) -> None:
    """Frees the space of the reserve."""
    with suppress(OSError):
        (folder / NAME).unlink()
