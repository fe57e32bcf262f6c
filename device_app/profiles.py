"""Profiles: a data folder for each person who uses this machine, with their own recordings, terms and edits."""

from __future__ import annotations

import shutil
from pathlib import Path

from device_app.data.names import checked_name
from device_app.paths import PROFILES, main_folder
from editing.errors import BadInputError, StorageError
from editing.privacy import make_folder


def profiles() -> list[str]:
    """The names of all profiles, sorted."""
    folder = main_folder() / PROFILES
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def add_profile(name: str) -> Path:
    """Makes a profile; returns its data folder.

    Raises:
        BadInputError: the name is invalid, or there is such a profile.
        StorageError: the folder cannot be made.
    """
    checked_name(name, "profile")
    folder = main_folder() / PROFILES / name
    if name.startswith(".") or folder.exists():
        raise BadInputError(
            f"{name!r}: " + ("begins with a dot" if name.startswith(".") else "there is such a profile")
        )
    try:
        make_folder(folder.parent)
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
        shutil.rmtree(main_folder() / PROFILES / name)
    except OSError as error:
        raise StorageError(f"{error.filename}: cannot be deleted ({error.strerror})") from error
