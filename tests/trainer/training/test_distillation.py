"""The bundled distillation set, and how distillation keeps a fine-tuning close to the base on it."""

import json
import math
from itertools import islice

import numpy as np
import pytest
import tokenizers
import torch

from device_app.adaptation.guard_set import FOLDER as GUARD_SET_FOLDER
from device_app.audio.bundled import cut_out
from device_app.audio.samples import SAMPLE_RATE
from device_app.data.utterance import Utterance
from device_app.models.baking import temporarily_baked
from device_app.recognition.transcriber import Transcriber
from export.bundle import TOKENIZER
from trainer import families
from trainer.families import moonshine
from trainer.training import distillation as distillation_module
from trainer.training.distillation import SPANS, VARIANTS, Distillation, load_distillation_set
from trainer.training.finetuning import finetune_on_recordings
from trainer.training.settings import FineTuningSettings


@pytest.fixture(scope="module", autouse=True)
def _every_hypothesis_counts():
    """The tiny model has random weights: what it writes is so unlikely that it would be taken for no speech."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("device_app.recognition.families.moonshine.MIN_LOG_PROBABILITY", -math.inf)
        yield


@pytest.fixture(scope="module", params=["tiny", pytest.param("embedded", marks=pytest.mark.slow)])
def model_bundle(request, tiny_moonshine, bundle):
    return {"tiny": tiny_moonshine, "embedded": bundle}[request.param]


@pytest.fixture(scope="module")
def weights(model_bundle):
    return model_bundle.weights()


@pytest.fixture(scope="module")
def recordings(model_bundle):
    """The number of recordings in the distillation set: a few for the tiny model, which never ends a text."""
    return 4 if model_bundle.name == "tiny-moonshine" else len(SPANS.read_text("utf-8").splitlines())


@pytest.fixture(scope="module")
def distillation_set(model_bundle, weights, recordings):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distillation_module, "cut_out", lambda spans: islice(cut_out(spans), recordings))
        return load_distillation_set(model_bundle, weights, seed=0)


@pytest.fixture
def distilled(model_bundle, weights, distillation_set):
    """The unchanged model and its distillation."""
    model = moonshine.build(model_bundle.config, "sdpa")
    families.load_weights(model, weights)
    moonshine.prepare(model)
    return model, Distillation(moonshine, model, distillation_set[::VARIANTS], "cpu")


def divergence(distillation):
    return distillation.divergence(np.random.default_rng(0))


def test_the_distillation_set_shares_no_recording_with_the_guard_set():
    own = {(SPANS.parent / json.loads(line)["audio"]).resolve() for line in SPANS.read_text("utf-8").splitlines()}
    guard_set = (GUARD_SET_FOLDER / "guard_set.jsonl").read_text("utf-8").splitlines()
    assert own.isdisjoint({(GUARD_SET_FOLDER / json.loads(line)["audio"]).resolve() for line in guard_set})


def test_the_set_has_variants_of_each_recording_with_the_hypothesis_as_label(
    model_bundle, weights, distillation_set, recordings
):
    assert len(distillation_set) == VARIANTS * recordings
    tokenizer = tokenizers.Tokenizer.from_file(str(model_bundle.path(TOKENIZER)))
    audio, _ = next(cut_out(SPANS))
    with temporarily_baked(model_bundle, weights) as folder:
        expected = Transcriber(model_bundle, folder=folder).transcribe(audio, SAMPLE_RATE).text
    assert tokenizer.decode(list(distillation_set[0].tokens)).strip() == expected
    if model_bundle.name != "tiny-moonshine":
        assert "best of times" in expected.lower()
    assert all(one.tokens == distillation_set[0].tokens for one in distillation_set[:VARIANTS])
    assert len({one.read().tobytes() for one in distillation_set}) == len(distillation_set)


def test_the_divergence_is_zero_for_the_same_weights_and_its_gradient_points_back_to_them(distilled):
    model, distillation = distilled
    assert float(divergence(distillation).detach()) == pytest.approx(0.0, abs=1e-3)
    weight = model.model.encoder.layers[0].mlp.fc1.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    far = divergence(distillation)
    assert float(far.detach()) > 0.01
    far.backward()
    assert float((weight.grad * (weight.detach() - before)).sum()) > 0  # gradient descent moves back


@pytest.mark.slow
@pytest.mark.parametrize("model_bundle", ["embedded"], indirect=True)
def test_fine_tuning_with_distillation_diverges_less_on_general_speech(
    model_bundle, weights, codes, distilled, distillation_set, monkeypatch
):
    monkeypatch.setattr(distillation_module, "SHARE", 0.5)  # the training set is small
    lines = [json.loads(line) for line in codes.read_text("utf-8").splitlines()][:12]
    labelled = [Utterance(audio=codes.parent / line["audio"], text=line["text"]) for line in lines]
    settings = FineTuningSettings(epochs=6, batch_s=20.0)
    model, distillation = distilled

    def divergence_after_finetuning(**options):
        tuned = finetune_on_recordings(model_bundle, weights, labelled, [], settings, **options)
        families.load_weights(model, tuned.weights)
        return float(divergence(distillation).detach())

    assert divergence_after_finetuning(distillation_set=distillation_set) < 0.8 * divergence_after_finetuning()
