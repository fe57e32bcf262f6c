"""Gradients of padded batches, and CUDA graphs of them."""

import numpy as np
import pytest
import torch

from device_app.data.utterance import Utterance
from trainer import families
from trainer.families import conformer_ctc, moonshine
from trainer.training import loop
from trainer.training.cuda_graphs import PaddedBatch, Shape
from trainer.training.distillation import TopK, load_distillation_set
from trainer.training.finetuning import finetune_on_recordings
from trainer.training.loader import Microbatch
from trainer.training.model import TrainableModel
from trainer.training.settings import FineTuningSettings


@pytest.fixture
def model(tiny_moonshine, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    # Padded batches are computed in float32, as on a GPU; a CPU that multiplies bfloat16 would use that for the others.
    monkeypatch.setattr("trainer.training.model.is_bf16_fast", lambda _device: False)
    built = TrainableModel.build(tiny_moonshine, tiny_moonshine.weights(), FineTuningSettings(scope="encoder"))
    for parameter in built.trained.values():
        parameter.grad = torch.zeros_like(parameter)
    return built


@pytest.fixture
def microbatch():
    random = np.random.default_rng(0)
    lengths = [9_000, 14_500, 21_000]
    audio = np.zeros((3, 24_000), np.float32)
    for row, length in zip(audio, lengths, strict=True):
        row[:length] = 0.1 * random.standard_normal(length)
    return Microbatch(audio, lengths, [[5, 7, 2], [9, 2], [4, 8, 15, 16, 23, 2]], is_augmented=False)


def gradients(model):
    found = {name: parameter.grad.clone() for name, parameter in model.trained.items()}
    for parameter in model.trained.values():
        parameter.grad.zero_()
    return found


def assert_same(found, expected):
    for name, gradient in expected.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-4 * max(scale, 1e-3))


def test_padding_changes_neither_the_loss_nor_the_gradients(model, microbatch):
    total, count, _ = model.loss(microbatch)
    (total / count).backward()
    expected = gradients(model)
    batch = PaddedBatch(model, moonshine, Shape(rows=4, samples=32_000, tokens=16))
    for _ in range(2):  # buffers are used again
        batch.load(microbatch, 1 / count)
        batch.add_gradients()
        assert float(batch.loss) == pytest.approx(float(total.detach()), rel=1e-4)
        assert_same(gradients(model), expected)


def test_a_smaller_batch_in_the_same_buffers_leaves_nothing_of_the_larger_one(model, microbatch):
    smaller = Microbatch(
        microbatch.audio[:2, :16_000], microbatch.lengths[:2], microbatch.tokens[:2], is_augmented=False
    )
    total, count, _ = model.loss(smaller)
    (total / count).backward()
    expected = gradients(model)
    batch = PaddedBatch(model, moonshine, Shape(rows=4, samples=32_000, tokens=16))
    batch.load(microbatch, 1.0)
    batch.load(smaller, 1 / count)
    batch.add_gradients()
    assert float(batch.loss) == pytest.approx(float(total.detach()), rel=1e-4)
    assert_same(gradients(model), expected)


def test_padding_does_not_change_the_divergence(model, microbatch):
    audio, lengths = torch.from_numpy(microbatch.audio), torch.tensor(microbatch.lengths)
    with torch.no_grad():
        before = TopK.of(moonshine.log_probabilities(model.network, audio, lengths, microbatch.tokens))
        for parameter in model.trained.values():
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.manual_seed(0))
    divergence = before.divergence(moonshine.log_probabilities(model.network, audio, lengths, microbatch.tokens))
    (8 * divergence).backward()
    expected = gradients(model)
    batch = PaddedBatch(model, moonshine, Shape(rows=3, samples=24_000, tokens=16), before.outputs.shape[1])
    batch.load(microbatch, 8.0, before)
    batch.add_gradients()
    assert float(divergence.detach()) > 1e-4
    assert float(batch.loss) == pytest.approx(float(divergence.detach()), rel=1e-3)
    assert_same(gradients(model), expected)


@pytest.mark.parametrize(
    ("rows", "samples", "tokens", "expected"),
    [
        (1, 8_000, 1, Shape(1, 8_000, 16)),
        (5, 56_001, 17, Shape(6, 64_000, 32)),
        (9, 72_001, 33, Shape(10, 80_000, 48)),
        (16, 320_000, 100, Shape(16, 320_000, 112)),
        (17, 8_000, 1, None),
        (16, 8_000, 300, None),  # the outputs would take too much memory
    ],
)
def test_shapes_are_rounded_up_to_a_few(rows, samples, tokens, expected):
    batch = Microbatch(np.zeros((rows, samples), np.float32), [samples] * rows, [[2] * tokens] * rows, False)
    assert Shape.of(batch) == expected


def test_only_families_with_a_cross_entropy_have_padded_logits():
    assert families.has_padded_logits(moonshine)
    assert not families.has_padded_logits(conformer_ctc)


@pytest.mark.gpu
def test_graphs_give_the_losses_of_eager_updates(bundle, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    recordings = load_distillation_set(bundle)[:24]
    labelled = [Utterance(audio=one.file, text=one.transcript, samples=one.read()) for one in recordings]
    distillation_set = load_distillation_set(bundle)[24:60]
    settings = FineTuningSettings(epochs=4, scope="encoder", target_loss=0.0)
    graphs = []

    def finetuned():
        return finetune_on_recordings(
            bundle, bundle.weights(), labelled, [], settings, distillation_set=distillation_set
        )

    class Watched(loop.GraphedGradients):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            graphs.append(self)

    monkeypatch.setattr(loop, "GraphedGradients", Watched)
    graphed = finetuned()
    assert graphs[0].captured > 0
    assert not graphs[0].has_failed
    monkeypatch.setattr(families, "has_padded_logits", lambda family: False)
    eager = finetuned()
    assert graphed.training_losses == pytest.approx(eager.training_losses, rel=0.02)
    change = {name: graphed.weights[name] - bundle.weights()[name] for name in graphed.weights}
    plain = {name: eager.weights[name] - bundle.weights()[name] for name in eager.weights}
    dot = sum(float((change[name] * plain[name]).sum()) for name in change)
    norms = [sum(float((one[name] ** 2).sum()) for name in one) ** 0.5 for one in (change, plain)]
    assert dot / (norms[0] * norms[1]) > 0.98
