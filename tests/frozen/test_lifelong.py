"""A benchmark's run and sweep that 767e81d began, and a kill -9 ended, go on; what was done is not done again."""

import json

import pytest

from tests.frozen import access
from tests.frozen.conftest import COMMITTED


@pytest.fixture
def lifelong(thaw):
    thaw("models")
    thaw("recordings")
    return thaw("lifelong")


def cells(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("step-*.json")}


def test_a_run_goes_on_with_what_is_missing(lifelong, tmp_path):
    run = lifelong / "run"
    before = cells(run)
    assert before.keys() == {
        "cells/base/step-0.json",
        "cells/fine-tuning/seed-7/step-1.json",
        "cells/fine-tuning/seed-7/step-2.json",
        "cells/ewc/seed-7/step-1.json",
        "cells/ewc/seed-7/step-2.json",
        "cells/ties/seed-7/step-1.json",
    }
    vector = run / "cells" / "ties" / "seed-7" / "memory" / "1.safetensors"
    first = vector.read_bytes()
    found = access.lifelong_run(tmp_path / "home", lifelong / "run.toml")
    assert {name: data for name, data in cells(run).items() if name in before} == before
    assert vector.read_bytes() == first
    assert found["methods"].keys() == {"fine-tuning", "ewc", "ties", "joint"}
    assert (found["seen"], found["seeds"]) == (["first", "second", "third"], [7])
    frozen = json.loads(before["cells/ewc/seed-7/step-2.json"])["heard"]
    rates = [sum(frozen[name]["wrong"]) / sum(frozen[name]["words"]) for name in found["seen"]]
    (ewc,) = found["methods"]["ewc"]["runs"]
    assert ewc["wer"][-1] == pytest.approx(rates)
    assert found["methods"]["ewc"]["stored_mb_per_domain"] > 0
    assert json.loads((run / "results.json").read_text("utf-8")) == found
    assert not list(run.rglob("theta-*"))


def test_a_sweep_goes_on_with_what_is_missing(lifelong, tmp_path):
    path = lifelong / "grid-sweep" / "sweep" / "step-1.json"
    before = json.loads(path.read_text("utf-8"))
    found = access.lifelong_sweep(tmp_path / "home", lifelong / "grid.toml", utterances=1)
    (step,) = found["steps"]
    assert len(before["cells"]) >= 75
    assert step["cells"][: len(before["cells"])] == before["cells"]
    assert len(step["cells"]) == len(found["lambdas"]) * len(found["densities"]) == 81
    assert step["tuning_s"] == before["tuning_s"]
    assert step["hearing_s"] > before["hearing_s"]


def test_the_frozen_configurations_name_every_setting_of_a_fine_tuning():
    text = (COMMITTED / "lifelong" / "run.toml").read_text("utf-8")
    for name in ("embeddings", "vary", "easy_epochs", "patience", "enough", "warm_up", "clip", "batch_s"):
        assert f"\n{name} = " in text
