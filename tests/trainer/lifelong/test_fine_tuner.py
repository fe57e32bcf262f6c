"""A fine-tuning that several methods need is done once; any other is done anew."""

from types import SimpleNamespace

import numpy as np
import pytest

from editing.errors import BadInputError
from trainer.lifelong import fine_tuner
from trainer.lifelong.fine_tuner import FineTuner
from trainer.training.settings import FineTuningSettings

BASE = {"encoder": np.zeros(3, np.float32)}
EXAMPLES = ["one", "two"]  # their content does not matter here


@pytest.fixture
def calls(monkeypatch):
    """The weights and settings of each fine-tuning that is done; it adds 1 to the weights for each utterance."""
    done = []

    def finetune(_bundle, weights, training, _held_out, settings, **_options):
        done.append((weights, settings))
        return SimpleNamespace(weights={name: tensor + len(training) for name, tensor in weights.items()})

    monkeypatch.setattr(fine_tuner, "finetune", finetune)
    return done


@pytest.fixture
def tuner(tmp_path):
    def make(seed=0, domain="codes", distillation_set=("general",)):
        settings = FineTuningSettings(seed=seed)
        return FineTuner(None, BASE, settings, distillation_set, domain, EXAMPLES, tmp_path / "fine-tunings")

    return make


def test_the_fine_tuning_of_another_method_is_read(tuner, calls):
    first, second = tuner(), tuner()
    done, read = first(dict(BASE), EXAMPLES), second(dict(BASE), [*EXAMPLES])
    assert len(calls) == 1
    np.testing.assert_array_equal(done["encoder"], [2, 2, 2])
    np.testing.assert_array_equal(read["encoder"], done["encoder"])


def test_its_costs_count_for_every_method_that_needs_it(tuner, calls, monkeypatch):
    monkeypatch.setattr(fine_tuner, "time", SimpleNamespace(perf_counter=iter([10.0, 35.0]).__next__))
    monkeypatch.setattr(fine_tuner, "peak_memory_mb", lambda: 1500.0)
    first, second = tuner(), tuner()
    first(BASE, EXAMPLES)
    second(BASE, EXAMPLES)
    assert (first.saved_s, first.peak_gb) == (0, 0)
    assert (second.saved_s, second.peak_gb) == (25, 1.5)


@pytest.mark.parametrize(
    ("other", "arguments", "options"),
    [
        ({"seed": 1}, (BASE, EXAMPLES), {}),
        ({"domain": "digits"}, (BASE, EXAMPLES), {}),
        ({"distillation_set": ()}, (BASE, EXAMPLES), {}),
        ({}, ({"encoder": BASE["encoder"].copy()}, EXAMPLES), {}),
        ({}, (BASE, ["one", "three"]), {}),
        ({}, (BASE, EXAMPLES), {"scope": "encoder"}),
        ({}, (BASE, EXAMPLES), {"penalty": lambda *_batch: 0}),
        ({}, (BASE, EXAMPLES), {"adapters": lambda _model: None}),
    ],
)
def test_a_fine_tuning_that_differs_in_anything_is_done(tuner, calls, other, arguments, options):
    tuner()(BASE, EXAMPLES)
    tuner(**other)(*arguments, **options)
    assert len(calls) == 2


def test_weights_without_their_costs_are_of_a_killed_run(tuner, calls, tmp_path):
    tuner()(BASE, EXAMPLES)
    (cost,) = (tmp_path / "fine-tunings").glob("*.json")
    cost.unlink()
    tuner()(BASE, EXAMPLES)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("kind", "content"),
    [("json", "{"), ("json", "{}"), ("json", '{"seconds": "x", "peak_gb": 1}'), ("safetensors", "")],
)
def test_a_damaged_file_is_named_with_what_to_delete(tuner, calls, tmp_path, kind, content):
    folder = tmp_path / "fine-tunings"
    tuner()(BASE, EXAMPLES)
    (file,) = folder.glob(f"*.{kind}")
    file.write_text(content)
    with pytest.raises(BadInputError, match=rf"{file.name}: .*; delete {folder} and start the command again"):
        tuner()(BASE, EXAMPLES)
