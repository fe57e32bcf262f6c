"""Attention in float32 computes what transformers' "sdpa" does, whatever the precision of the rest."""

from unittest import mock

import pytest
import torch

from trainer import attention, families
from trainer.families import moonshine

LENGTHS = torch.tensor([16_000, 9_000])
TOKENS = [[1, 5, 6, 2], [1, 7, 2]]


@pytest.fixture
def loss(tiny_moonshine):
    """The loss of two utterances of different lengths, and the gradient of a projection of queries."""

    def compute(name, *, is_bfloat16=False):
        model = moonshine.build(tiny_moonshine.config, name)
        families.load_weights(model, tiny_moonshine.weights())
        moonshine.prepare(model)
        audio = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16):
            total, _ = moonshine.loss(model, audio, LENGTHS, TOKENS)
        total.backward()
        return total.item(), model.model.encoder.layers[0].self_attn.q_proj.weight.grad

    return compute


def test_it_is_the_attention_of_transformers(loss):
    total, gradient = loss(attention.FLOAT32)
    expected, expected_gradient = loss("sdpa")
    assert total == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-3, atol=1e-6)


def test_only_attention_is_in_float32_under_autocast(loss):
    attend, seen = torch.nn.functional.scaled_dot_product_attention, set()

    def record(query, *arguments, **settings):
        seen.add(query.dtype)
        return attend(query, *arguments, **settings)

    with mock.patch.object(torch.nn.functional, "scaled_dot_product_attention", record):
        total, gradient = loss(attention.FLOAT32, is_bfloat16=True)
    assert seen == {torch.float32}
    assert total == pytest.approx(loss("sdpa")[0], rel=0.05)
    assert torch.isfinite(gradient).all()
