"""Bundles of 767e81d are found by their names, are whole, and run."""

import json
from difflib import SequenceMatcher

import pytest

from tests.frozen import access
from tests.frozen.conftest import COMMITTED

TEXTS = ("it was the best of times", "it was the worst of times", "it was the season of darkness")


def test_installed_models_are_listed(home):
    found = {one["name"]: (one["family"], one["licence"]) for one in access.models(home)}
    assert found == {
        "embedded": ("moonshine", "MIT"),
        "tiny": ("conformer-ctc", "LicenseRef-own"),
        "converted": ("auto-ctc", "LicenseRef-source"),
    }


@pytest.mark.parametrize("name", ["tiny", "converted"])
def test_a_bundle_is_whole_and_known_by_its_weights(home, name):
    record = json.loads((COMMITTED / "models" / name / "model.json").read_text("utf-8"))
    assert access.weights_hash(home / "models" / name) == record["files"]["weights.safetensors"]


@pytest.mark.parametrize("precision", ["int8", "fp32"])
@pytest.mark.parametrize("name", ["tiny", "converted"])
def test_a_bundle_runs(data, thaw, name, precision):
    home = thaw("models", "home/models").parent
    recordings = [data / "recordings" / f"cities-{number}.flac" for number in (0, 2, 4)]
    found = access.transcribe(home, name, precision, *recordings)
    assert [one["duration_s"] for one in found] == [1.75, 1.75, 1.75]
    if name == "tiny":  # it was trained on them, for a minute
        for one, text in zip(found, TEXTS, strict=True):
            assert SequenceMatcher(None, one["text"], text).ratio() > 0.6, one["text"]
