"""Paths of the data folder and of the assets in the package."""

from __future__ import annotations

import os
from pathlib import Path

from editing.privacy import private_folder

ASSETS = Path(__file__).parent / "assets"
RECORDINGS = ASSETS / "recordings"

CANDIDATE = "candidate-"  # prefix of folders with the baked files of a candidate

# Files and folders that asr-edge creates in the data folder. The modes of all others in it are left unchanged.
DATA = (
    *("store.sqlite3*", "audio", "quarantine", "ledgers", "models", "baked", "training", "jobs", "hosts.json"),
    *("terms.json", ".terms.json.lock", "terms-cache", "term-usage.json", ".term-usage.json.lock"),
    *("host", "host/*", f"{CANDIDATE}*", f"{CANDIDATE}*/*", "fleet-*", ".*.tmp"),
)
# Those that are private even where they are symbolic links, to another disk for instance. Models are no secret,
# and may be shared by several users.
LINKED = (
    *("store.sqlite3*", "audio", "quarantine", "ledgers", "training", "jobs", "hosts.json", "host"),
    *("terms.json", "term-usage.json", f"{CANDIDATE}*", "fleet-*"),
)


def data_folder() -> Path:
    """The folder of models, recordings and baked files: ASR_EDGE_HOME, or the default of the platform.

    Only its owner can read its content; see `editing.privacy.private_folder`.
    """
    if home := os.environ.get("ASR_EDGE_HOME"):
        return private_folder(Path(home).expanduser(), DATA, LINKED)
    import platformdirs

    return private_folder(platformdirs.user_data_path("asr-edge", appauthor=False), DATA, LINKED)
