"""Keeps space free on the host's disk, so that a host with a full disk still answers and can free space."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from editing.errors import StorageError

BALLAST_BYTES = 1 << 20  # of the ballast file; a cancelled job writes a few pages of 4 KiB to the database


class DiskReserve:
    """Refuses writes of devices before the disk is full, and holds a file that is given up when it is full anyway.

    Other programs can fill the disk as well. SQLite then cannot record that a job was cancelled, and no
    file could be removed; so the ballast file is removed first.
    """

    def __init__(self, folder: Path, size: int) -> None:
        """
        Args:
            folder: a folder on the host's disk.
            size: bytes that devices may not use; on a small disk a tenth of it.
        """
        self._folder = folder
        self._ballast_file = folder / "reserve"
        total = shutil.disk_usage(folder).total
        self.size = min(size, total // 10)
        self._ballast_bytes = min(BALLAST_BYTES, total // 20)

    def free(self) -> int:
        """The bytes that devices may use."""
        return max(0, shutil.disk_usage(self._folder).free - self.size)

    def require(self, size: int) -> None:
        """Checks that a write leaves the reserve free.

        Raises:
            StorageError: `size` more bytes would use the reserve.
        """
        if size > self.free():
            raise StorageError("the host's disk is full")

    def retry_when_full(self, write: Callable[[], bool]) -> bool:
        """Calls `write`; if the disk is full, removes the ballast file and calls it again."""
        try:
            return write()
        except (sqlite3.OperationalError, OSError):
            self._ballast_file.unlink(missing_ok=True)
            return write()

    def fill(self) -> None:
        """Writes the ballast file if it is missing and there is space for it."""
        with contextlib.suppress(OSError):
            if self._ballast_file.exists() or self.free() < self._ballast_bytes:
                return
            self._ballast_file.touch(0o600)
            try:
                with self._ballast_file.open("wb") as file:
                    file.write(bytes(self._ballast_bytes))
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                self._ballast_file.unlink()
                raise


# What to do without the database of a host.
REMEDY = (
    "Move all files away whose names begin with 'host.sqlite', and put a copy of host.sqlite back. Without a copy, "
    "move 'jobs' and 'fleet' beside them away too: then add each device again with 'asr-edge host token add', and "
    "devices send their jobs and contributions again"
)


def cannot_use_database(path: Path, error: Exception) -> StorageError:
    """The error to raise when the host's database cannot be opened: names the file, the reason and the remedy."""
    # SQLite reports "disk I/O error" for a truncated file too, so the remedies for both are named.
    return StorageError(
        f"{path}: cannot be used ({error}); nothing was changed. Check its permissions and the free space of its disk. "
        f"If it is damaged: {REMEDY[0].lower()}{REMEDY[1:]}"
    )
