"""Puts a new folder into the place of another in one step."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from editing.errors import StorageError
from editing.files import sync

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h


def put_in_place(new: Path, target: Path) -> bool:
    """Gives a folder the name of another, which gets the name of the new one: both in one step, on one disk.

    Args:
        new: the new folder.
        target: the other; a missing or an empty one is replaced.

    Returns:
        Whether `new` is now the folder that was replaced, rather than gone.

    Raises:
        StorageError: they cannot be exchanged; both are as they were.
    """
    try:
        if not target.exists() or not any(target.iterdir()):
            new.rename(target)
            is_exchanged = False
        else:
            _exchange(new, target)
            is_exchanged = True
        sync(target.parent)
    except OSError as error:
        raise StorageError(
            f"{target}: cannot be replaced ({error.strerror}); nothing was changed. If it is a disk of its own, or on "
            f"one that cannot exchange folders, move its content away and restore again, or set ASR_EDGE_HOME to a "
            "folder in it"
        ) from error
    return is_exchanged


def _exchange(one: Path, other: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    names = os.fsencode(one), os.fsencode(other)
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
