"""The cost of stored edits: random vectors of a model's shapes, stored and merged."""

import numpy as np
import pytest

from editing.errors import BadInputError
from editing.task_vector import Origin, TaskVector
from trainer.lifelong.overhead import overhead


def test_costs_are_measured_for_each_number_of_edits(tmp_path, tiny_bundle):
    for name in ("base", "edited"):
        (tmp_path / name).mkdir()
    one, two = overhead(tmp_path, model=str(tiny_bundle.folder), counts=(2, 1), threads=1)
    assert [one["edits"], two["edits"]] == [1, 2]
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == 2
    assert two["disk_mb"] == sum(file.stat().st_size for file in files) / 1e6
    # Models are baked elsewhere: these folders may be the user's.
    assert not any((*tmp_path.glob("base/*"), *tmp_path.glob("edited/*")))
    assert one["disk_mb"] == files[0].stat().st_size / 1e6
    assert min(one["merge_s"], one["bake_s"], one["latency_ms"], one["latency_ratio"]) > 0


def test_a_task_vector_of_the_user_is_not_replaced(tmp_path, home):
    path = tmp_path / "1.safetensors"
    TaskVector({"a": np.ones((2, 2), np.float32)}, Origin("f", "b", "anna", utterances=1, seconds=1.0)).save(path)
    before = path.read_bytes()
    with pytest.raises(BadInputError, match="is a task vector of another domain; nothing was changed"):
        overhead(tmp_path, counts=(1,), threads=1)
    assert path.read_bytes() == before
