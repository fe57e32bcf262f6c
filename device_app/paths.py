"""Where asr-edge keeps its files: the data folder, and the assets that come with the package."""

from __future__ import annotations

import os
from pathlib import Path

from editing.files import private_folder

ASSETS = Path(__file__).parent / "assets"
RECORDINGS = ASSETS / "recordings"

CANDIDATE = "candidate-"  # the prefix of folders with a candidate's baked files

# What asr-edge puts into the data folder: who names a folder with other things in it keeps their modes.
DATA = (
    *("store.sqlite3*", "audio", "quarantine", "ledgers", "models", "baked", "training", "jobs", "hosts.json"),
    *("host", "host/*", f"{CANDIDATE}*", f"{CANDIDATE}*/*", "fleet-*", ".*.tmp"),
)
# Those that are private even where they are symbolic links, to another disk for instance. Models are no secret,
# and may be shared by several users.
LINKED = (
    *("store.sqlite3*", "audio", "quarantine", "ledgers", "training", "jobs", "hosts.json", "host"),
    *(f"{CANDIDATE}*", "fleet-*"),
)


def data_folder() -> Path:
    """Where models, recordings and baked files are kept: ASR_EDGE_HOME, or the platform's place.

    Only its owner can read what is in it; see `editing.files.private_folder`.
    """
    if home := os.environ.get("ASR_EDGE_HOME"):
        return private_folder(Path(home).expanduser(), DATA, LINKED)
    import platformdirs

    return private_folder(platformdirs.user_data_path("asr-edge", appauthor=False), DATA, LINKED)
