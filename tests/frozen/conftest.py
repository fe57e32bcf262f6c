"""Copies of the frozen files: no test opens a committed file in place, as SQLite and ledgers would write to it."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

COMMITTED = Path(__file__).parent / "data"
ARCHIVE = "binaries.tar.xz"
WORK = "/tmp/asr-edge-frozen"  # noqa: S108 -- where generate.py worked, as absolute paths in the files say
MODEL = "tiny"


def unpack(folder: Path) -> Path:
    """The whole data as one tree: the texts of `data/`, and what is in the archive beside them."""
    shutil.copytree(COMMITTED, folder, copy_function=shutil.copyfile, dirs_exist_ok=True)
    with tarfile.open(folder / ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be read; what a test opens as its own is a copy."""
    return unpack(tmp_path_factory.mktemp("frozen"))


@pytest.fixture
def thaw(tmp_path: Path, data: Path) -> Callable[..., Path]:
    """Copies a folder of the data into the test's own, as young as the test; absolute paths in it lead to the copy."""

    def copy(name: str, to: str = "") -> Path:
        target = tmp_path / (to or name)
        shutil.copytree(data / name, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
        for path in target.rglob("*.json"):
            text = path.read_text("utf-8")
            if WORK in text:
                path.write_text(text.replace(WORK, str(tmp_path)), "utf-8")
        return target

    return copy


@pytest.fixture
def home(thaw: Callable[..., Path]) -> Path:
    """The data folder of a device that has recorded, learnt, and waits for a host."""
    thaw("models", "device/models")
    return thaw("device")


@pytest.fixture(scope="session")
def expected() -> Mapping[str, Any]:
    """What the code of 767e81d made of its own files."""
    found: Mapping[str, Any] = json.loads((COMMITTED / "expected.json").read_text("utf-8"))
    return found


@pytest.fixture(autouse=True)
def _one_processor(one_processor: None) -> None:
    """As many threads as generate.py had: one. Sums are then the same from run to run."""
