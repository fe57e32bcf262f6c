"""Profiles: a data folder for each person who uses this machine, with their own recordings, terms and edits."""

from __future__ import annotations

import shutil
from pathlib import Path

from device_app.data.names import checked_name
from device_app.paths import BEFORE_RESTORE, profiles_folder
from editing.errors import BadInputError, StorageError


def profiles() -> list[str]:
    """The names of all profiles, sorted."""
    folder = profiles_folder()
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and _is_name(path.name))


def _is_name(name: str) -> bool:
    """Whether a folder is a profile, and not one that `restore` works in or keeps."""
    return not name.startswith(".") and BEFORE_RESTORE not in name


def add_profile(name: str) -> Path:
    """Makes a profile; returns its data folder.

    Raises:
        BadInputError: the name is invalid, or there is such a profile.
        StorageError: the folder cannot be made.
    """
    checked_name(name, "profile")
    folder = profiles_folder() / name
    if not _is_name(name):
        raise BadInputError(f"{name!r} cannot be the name of a profile; choose another")
    if folder.exists():
        raise BadInputError(f"there is a profile {name!r} already")
    try:
        folder.parent.mkdir(0o700, parents=True, exist_ok=True)
        folder.mkdir(0o700)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made ({error.strerror})") from error
    return folder


def remove_profile(name: str) -> None:
    """Deletes a profile with its recordings, terms and edits.

    Raises:
        BadInputError: there is no such profile.
        StorageError: a file cannot be deleted.
    """
    if name not in profiles():
        raise BadInputError(f"there is no profile {name!r}; there are {', '.join(profiles()) or 'none'}")
    try:
        shutil.rmtree(profiles_folder() / name)
    except OSError as error:
        raise StorageError(f"{error.filename}: cannot be deleted ({error.strerror})") from error
