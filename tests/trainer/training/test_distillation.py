"""The bundled distillation set, and how distillation keeps a fine-tuning close to the base on it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from device_app.adaptation.guard_set import guard_set
from device_app.adaptation.training_set import TrainingSet
from device_app.data.manifest import read_manifest
from device_app.data.utterance import Utterance
from device_app.models.edited_bundle import edited_bundle
from device_app.models.ledger_record import Applied
from editing.errors import TrainingError
from editing.task_vector import Origin, TaskVector
from trainer import families
from trainer.families import moonshine
from trainer.training import distillation as distillation_module
from trainer.training import finetuning
from trainer.training.distillation import FOLDER, Distillation, TopK, _plan, load_distillation_set
from trainer.training.finetuning import finetune_for_training_set, finetune_on_recordings
from trainer.training.settings import FineTuningSettings


@pytest.fixture(scope="module", params=["tiny", pytest.param("embedded", marks=pytest.mark.slow)])
def model_bundle(request, tiny_moonshine, bundle):
    return {"tiny": tiny_moonshine, "embedded": bundle}[request.param]


@pytest.fixture(scope="module")
def weights(model_bundle):
    return model_bundle.weights()


@pytest.fixture(scope="module")
def distillation_set(model_bundle):
    return load_distillation_set(model_bundle)


@pytest.fixture
def model(model_bundle, weights):
    built = moonshine.build(model_bundle.config, "sdpa")
    families.load_weights(built, weights)
    moonshine.prepare(built)
    return built


@pytest.fixture
def distil(model, distillation_set):
    """Builds the distillation from the unchanged model on the first utterances, for updates with seconds of speech."""

    def build(*seconds, utterances=8, seed=0):
        return Distillation(moonshine, model, model, distillation_set[:utterances], "cpu", seconds=seconds, seed=seed)

    return build


def test_models_of_other_languages_have_no_distillation_set(tiny_moonshine):
    assert load_distillation_set(replace(tiny_moonshine, language="de")) == []


def test_the_set_has_one_utterance_of_each_of_many_readers_and_none_of_the_guard_set(distillation_set):
    readers = [one.speaker for one in distillation_set]
    assert len(set(readers)) == len(readers) >= 100
    guards = {one.speaker for one in guard_set()}
    assert len(guards) >= 45
    assert guards.isdisjoint(readers)


def test_each_bundled_file_has_an_origin_and_a_licence_and_all_are_small():
    for folder in (FOLDER, FOLDER.parent / "guard_set"):
        lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]
        assert {line["licence"] for line in lines} <= {"CC0-1.0", "CC-BY-4.0"}
        assert all(line["origin"] for line in lines)
        assert {folder / line["audio"] for line in lines} == set((folder / "audio").iterdir())
    files = [path for name in ("distillation_set", "guard_set") for path in (FOLDER.parent / name).rglob("*")]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 5e6


def test_each_utterance_has_the_tokens_of_its_text(model_bundle, distillation_set):
    tokenise = moonshine.tokenise(model_bundle)
    assert [one.tokens for one in distillation_set] == [tokenise(one.transcript) for one in read_manifest(FOLDER)]


def test_the_divergence_of_the_likeliest_outputs_is_that_of_all_if_they_have_all_probability():
    before, now = (torch.log_softmax(5 * torch.randn(7, 20, generator=torch.manual_seed(s)), 1) for s in (0, 1))
    exact = torch.nn.functional.kl_div(now, before, reduction="batchmean", log_target=True)
    assert float(TopK.of(before).divergence(now)) == pytest.approx(float(exact), rel=1e-5)


def test_the_divergence_of_the_likeliest_outputs_is_a_lower_bound(monkeypatch):
    monkeypatch.setattr(distillation_module, "TOP_K", 4)
    before, now = (torch.log_softmax(torch.randn(7, 20, generator=torch.manual_seed(s)), 1) for s in (0, 1))
    exact = torch.nn.functional.kl_div(now, before, reduction="batchmean", log_target=True)
    assert TopK.of(before).outputs.shape == (7, 4)
    assert 0 < float(TopK.of(before).divergence(now)) < float(exact)


def test_the_divergence_is_zero_for_the_same_weights_and_its_gradient_points_back_to_them(model, distil):
    distillation = distil(100.0)
    assert float(distillation.divergence(distillation.batch(0)).detach()) == pytest.approx(0.0, abs=1e-4)
    weight = model.model.encoder.layers[0].mlp.fc1.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    far = distillation.divergence(distillation.batch(0))
    assert float(far.detach()) > 1e-4
    far.backward()
    assert float((weight.grad * (weight.detach() - before)).sum()) > 0  # gradient descent moves back


def test_updates_have_half_as_many_seconds_of_general_speech_as_of_training_speech():
    durations, training_s = [10.0, 12.0, 14.0], [8.0] * 90
    plan = _plan(durations, training_s, np.random.default_rng(0))
    assert plan[0] is None  # too little training speech yet for a whole batch
    used = [batch for batch in plan if batch is not None]
    assert sum(durations[batch] for batch in used) == pytest.approx(sum(training_s) / 2, abs=14.0)
    assert all(sorted(used[at : at + 3]) == [0, 1, 2] for at in range(0, len(used) - 2, 3))  # each once, then again


def test_a_later_fine_tuning_returns_towards_the_teacher_on_general_speech(
    model_bundle, weights, codes, model, distil, distillation_set
):
    random = np.random.default_rng(0)
    changed = {
        name: array + np.float32(0.3) * array.std() * random.standard_normal(array.shape, np.float32)
        for name, array in weights.items()
    }
    settings = FineTuningSettings(epochs=4, batch_s=20.0, learning_rate=1e-3)
    distillation = distil(100.0, 100.0)

    def divergence_after_finetuning(**options):
        tuned = finetune_on_recordings(
            model_bundle, changed, first_codes(codes), [], settings, distillation_set=distillation_set[:8], **options
        )
        families.load_weights(model, tuned.weights)
        return np.mean([float(distillation.divergence(distillation.batch(step)).detach()) for step in range(2)])

    assert divergence_after_finetuning(teacher=lambda: weights) < 0.9 * divergence_after_finetuning()


def test_a_device_keeps_the_outputs_of_its_base_not_those_of_its_active_version(
    tiny_moonshine, codes, distillation_set, monkeypatch
):
    base, shape = tiny_moonshine.weights(), tiny_moonshine.shapes()
    origin = Origin("moonshine", tiny_moonshine.weights_hash, "codes", utterances=1)
    ones = TaskVector({name: np.ones(shape[name], np.float32) for name in shape}, origin)
    earlier = Applied(1, ["ab" * 32], "task_arithmetic", {"lam": 1.0})
    edited = edited_bundle(tiny_moonshine, [earlier], SimpleNamespace(vector=lambda _digest: ones))
    seen = []

    def spy(_bundle, weights, *_arguments, **options):
        seen.append((weights, options))
        raise TrainingError("seen")

    monkeypatch.setattr(finetuning, "finetune", spy)
    with pytest.raises(TrainingError, match="seen"):
        finetune_for_training_set(TrainingSet(edited, first_codes(codes), [], origin), FineTuningSettings())
    ((weights, options),) = seen
    assert len(options["distillation_set"]) == len(distillation_set)
    for name, tensor in base.items():
        np.testing.assert_array_equal(weights[name], tensor + 1)
        np.testing.assert_array_equal(options["teacher"]()[name], tensor)


def first_codes(codes):
    """The first spelled codes, as labelled utterances."""
    lines = [json.loads(line) for line in codes.read_text("utf-8").splitlines()][:12]
    return [Utterance(audio=codes.parent / line["audio"], text=line["text"]) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("model_bundle", ["embedded"], indirect=True)
def test_fine_tuning_with_distillation_diverges_less_on_general_speech(
    model_bundle, weights, codes, model, distil, distillation_set
):
    labelled = first_codes(codes)
    settings = FineTuningSettings(epochs=6, batch_s=20.0)
    distillation = distil(100.0, 100.0, utterances=20)

    def divergence_after_finetuning(**options):
        tuned = finetune_on_recordings(model_bundle, weights, labelled, [], settings, **options)
        families.load_weights(model, tuned.weights)
        return np.mean([float(distillation.divergence(distillation.batch(step)).detach()) for step in range(2)])

    assert divergence_after_finetuning(distillation_set=distillation_set) < 0.8 * divergence_after_finetuning()
