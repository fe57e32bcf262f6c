"""Comparison with the files in the folder golden/; `--update-golden` rewrites them."""

import difflib
import json
import os
import re
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

FOLDER = Path(__file__).parent / "golden"
VOLATILE = (
    (r"\b[0-9a-f]{2}/[0-9a-f]{32}\.flac", "<file>.flac"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?", "<time>"),
    (r"\b[0-9a-f]{64}\b", "<sha256>"),
    (r"\b[0-9a-f]{32}\b", "<id>"),
    (r"\b(base|runs|from|sha256|expected) [0-9a-f]{8}\b", r"\1 <hash>"),
    (r"\b[0-9a-f]{16}(?=/|\b)", "<hash>"),
    (r"127\.0\.0\.1:\d{4,5}\b", "127.0.0.1:<port>"),
)


def normalised(text: str, places: Mapping[str, Path]) -> str:
    """A text in which folders, times, hashes and the version are replaced by placeholders."""
    for name, place in sorted({"package": REPOSITORY, **places}.items(), key=lambda one: -len(str(one[1]))):
        text = text.replace(str(place), f"<{name}>")
    for pattern, name in VOLATILE:
        text = re.sub(pattern, name, text)
    return text.replace(f"asr-edge {version('asr-edge')}", "asr-edge <version>")


def without_figures(value: object) -> object:
    """A JSON value whose floats are replaced, as they differ between processors, except in settings."""
    if isinstance(value, float):
        return "<float>"
    if isinstance(value, Mapping):
        return {key: one if key == "settings" else without_figures(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_figures(one) for one in value]
    return value


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with a file of the folder golden/, and shows the difference, if any."""

    def compare(name: str, text: str) -> None:
        path = FOLDER / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            return
        wanted = path.read_text("utf-8") if path.is_file() else ""
        if text != wanted:
            lines = difflib.unified_diff(
                wanted.splitlines(), text.splitlines(), f"golden/{name}", "this run", lineterm=""
            )
            difference = os.linesep.join(lines)
            pytest.fail(
                f"{difference}\nIf it is meant: pytest --update-golden, and review the difference", pytrace=False
            )

    return compare


def as_json(text: str, places: Mapping[str, Path], *, figures: bool = False) -> str:
    """A normalised JSON document with one value per line, with its floats or without."""
    document = json.loads(text)
    return normalised(json.dumps(document if figures else without_figures(document), indent=1), places) + "\n"
