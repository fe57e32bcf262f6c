"""Paths of the data folder and of the assets in the package."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from editing.errors import BadInputError
from editing.privacy import private_folder

ASSETS = Path(__file__).parent / "assets"
RECORDINGS = ASSETS / "recordings"

BEFORE_RESTORE = ".before-restore-"  # in the name of a data folder that `restore` has replaced
CANDIDATE = "candidate-"  # prefix of folders with the baked files of a version that the gate has not judged yet
CANDIDATES_LOCK = ".candidates.lock"  # held while such folders are created, and while abandoned ones are looked for

# Files and folders that asr-edge creates in the data folder. The modes of all others in it are left unchanged.
DATA = (
    *("store.sqlite3*", "audio", "quarantine", "ledgers", "models", "baked", "training", "jobs", "hosts.json"),
    *("terms.json", ".terms.json.lock", "terms-cache", "term-usage.json", ".term-usage.json.lock", "settings.toml"),
    *("reserve", "host", "host/*", "service", f"{CANDIDATE}*", f"{CANDIDATE}*/*", "fleet-*", ".*.tmp"),
    *("model-in-use.json", "machine-speed.json", "fine-tuning-speed.json", CANDIDATES_LOCK),
)
# Those that are private even where they are symbolic links, to another disk for instance. Models are no secret,
# and may be shared by several users.
LINKED = (
    *("store.sqlite3*", "audio", "quarantine", "ledgers", "training", "jobs", "hosts.json", "host", "service"),
    *("terms.json", "term-usage.json", f"{CANDIDATE}*", "fleet-*"),
)
HOME_VARIABLE, PROFILE_VARIABLE = "ASR_EDGE_HOME", "ASR_EDGE_PROFILE"

_chosen: ContextVar[str | None] = ContextVar("chosen profile", default=None)


def active_profile() -> str:
    """The profile of `in_profile`, or else that of ASR_EDGE_PROFILE; empty for the main data folder."""
    chosen = _chosen.get()
    return os.environ.get(PROFILE_VARIABLE, "") if chosen is None else chosen


@contextmanager
def in_profile(name: str) -> Iterator[None]:
    """Makes `data_folder` that of another profile inside the block, for this thread or asyncio task only.

    Args:
        name: the profile; empty for the main data folder.
    """
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def data_folder() -> Path:
    """The folder of models, recordings and baked files of the active profile.

    Only its owner can read its content; see `editing.privacy.private_folder`.

    Raises:
        BadInputError: there is no such profile.
    """
    main = main_folder()
    if not (name := active_profile()):
        return main
    folder = profiles_folder() / name
    if name in (".", "..") or Path(name).name != name or not folder.is_dir():
        raise BadInputError(f"there is no profile {name!r}; 'asr-edge profile add NAME' makes one")
    return private_folder(folder, DATA, LINKED)


def profiles_folder() -> Path:
    """The folder with a data folder for each profile, beside the main one, which `restore` replaces as a whole."""
    main = main_folder()
    return main.with_name(f"{main.name}-profiles")


def main_folder() -> Path:
    """The data folder without a profile: ASR_EDGE_HOME, or the default of the platform."""
    if home := os.environ.get(HOME_VARIABLE):
        return private_folder(Path(home).expanduser(), DATA, LINKED)
    import platformdirs

    return private_folder(platformdirs.user_data_path("asr-edge", appauthor=False), DATA, LINKED)
