"""Private folders: only the owner can read what is in them, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

OTHERS = 0o077  # permissions of everybody but the owner
_private_folders: set[Path] = set()  # of this process; see `private_folder`


def private_folder(path: Path, entries: Iterable[str] = ("*",), linked: Iterable[str] = ()) -> Path:
    """Makes a folder private: only the owner can read what this process writes in it, whatever the umask.

    The folder need not exist; `make_folder` makes it with the right mode. If it exists, other users
    lose their access to it and to everything below `entries`. If it is a symbolic link, they lose their
    access to its target. Files of other users keep their mode.

    Args:
        path: the folder.
        entries: glob patterns of entries whose mode may be changed. An entry without access for others is
            assumed to be private throughout, so that opening a large folder stays fast.
        linked: those of the patterns whose entries are followed if they are symbolic links, because
            their target is used for nothing else. The targets of other links keep their mode.

    Returns:
        The same path.
    """
    _private_folders.add(path.absolute())
    for entry in private_entries(path, entries, linked):
        if is_open_to_others(entry):
            restrict_access(entry)
    if not path.is_symlink():
        _restrict(path)
    elif _is_own(path):
        _restrict(path.resolve())
    return path


def private_entries(folder: Path, entries: Iterable[str], linked: Iterable[str] = ()) -> Iterator[Path]:
    """The files and folders that `private_folder` makes private: entries, or the targets of followed links."""
    followed = {*linked}
    above = {folder.resolve(), *folder.resolve().parents}
    for pattern in entries:
        for entry in folder.glob(pattern):
            if not entry.is_symlink():
                yield entry
            elif pattern in followed and _is_own(entry) and entry.resolve() not in above:
                yield entry.resolve()


def _is_own(path: Path) -> bool:
    """Whether a file or folder, or the target of a symbolic link, belongs to the user of this process."""
    try:
        owner = path.stat().st_uid
    except OSError:
        return False
    return not hasattr(os, "geteuid") or owner == os.geteuid()


def is_private(path: Path) -> bool:
    """Whether a path is a private folder of this process, or in one."""
    absolute = path.absolute()
    return absolute in _private_folders or any(parent in _private_folders for parent in absolute.parents)


def make_folder(path: Path) -> None:
    """Makes a folder and its parents: private ones with mode 0700, others with the umask.

    Raises:
        OSError: it cannot be made.
    """
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent)
    path.mkdir(mode=0o700 if is_private(path) else 0o777, exist_ok=True)


def restrict_access(path: Path) -> None:
    """Removes the access of other users to a file, or to a folder and everything in it.

    The folder itself comes last: after an interruption it is still open, and `private_folder` starts again.
    """
    if path.is_dir() and not path.is_symlink():
        for folder, _, files in os.walk(path, topdown=False):
            for name in files:
                _restrict(Path(folder, name))
            _restrict(Path(folder))
    else:
        _restrict(path)


def _restrict(path: Path) -> None:
    # A shared folder such as /tmp has the sticky bit.
    with suppress(OSError):  # another user owns it, or it has just been removed
        if is_open_to_others(path) and not path.lstat().st_mode & stat.S_ISVTX:
            path.chmod(stat.S_IMODE(path.lstat().st_mode) & 0o700)


def is_open_to_others(path: Path) -> bool:
    """Whether users other than the owner have any access to a file or folder; false for a symbolic link."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return bool(mode & OTHERS) and not stat.S_ISLNK(mode)
