"""Locks between processes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from editing.errors import BlockedError
from editing.files import cannot_write


@contextmanager
def locked(path: Path, *, wait: bool = False, message: str | None = None) -> Iterator[None]:
    """Holds an exclusive lock on a file while the block runs; the operating system releases it if the process dies.

    The lock is flock(2) on the file, not the file's existence: a file that a killed process left
    behind holds nothing, and versions of asr-edge that call flock themselves are excluded too. The
    file is made if it is absent and is not removed, so that all processes lock the same file.

    Args:
        path: the lock file, in a folder that exists.
        wait: wait until the lock is free, without limit; otherwise fail at once.
        message: the message of the BlockedError; says who may hold the lock and what to do.

    Raises:
        BlockedError: another process, or another block of this one, holds the lock.
        StorageError: the folder is missing, the lock file cannot be opened, or the file system has no flock.
    """
    from filelock import FileLock, Timeout  # takes 0.1 s, and most commands do not need it

    if not path.parent.is_dir():  # filelock would create it
        raise cannot_write(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    # Without flock, filelock would fall back to a marker file, which outlives a killed process.
    lock = FileLock(path, blocking=wait, thread_local=False, fallback_to_soft=False, preserve_lock_file=True)
    try:
        lock.acquire()
    except Timeout:
        default = f"{path}: another process holds this lock; wait until it has finished"
        raise BlockedError(message or default) from None
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield
    finally:
        lock.release()
