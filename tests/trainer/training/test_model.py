"""Which tensors of a model change in a fine-tuning: those in the scope, and no others."""

from dataclasses import replace

import numpy as np
import pytest

from editing.errors import BadInputError
from trainer import attention, families
from trainer.training.data import TrainingUtterance
from trainer.training.loop import finetune
from trainer.training.model import TrainableModel
from trainer.training.settings import FineTuningSettings

QUICK = FineTuningSettings(epochs=1, learning_rate=1e-2, patience=9)


@pytest.fixture(scope="module")
def noise():
    """Two utterances of a second of noise, which the batch norms of a model with random weights have not seen."""
    rng = np.random.default_rng(0)
    return [
        TrainingUtterance(
            samples=rng.normal(0, 0.1, 16_000).astype(np.float32), end=16_000, text="zero", tokens=[1, 2, 3]
        )
        for _ in range(2)
    ]


@pytest.fixture
def changed(tiny_bundle, noise):
    """The names of the tensors of a conformer that a fine-tuning in a scope changes."""
    weights = tiny_bundle.weights()

    def run(scope):
        tuned = finetune(tiny_bundle, weights, noise, [], replace(QUICK, scope=scope)).weights
        return {name for name in weights if not np.array_equal(tuned[name], weights[name])}

    return run


def has_statistics(names):
    return any(name.endswith(families.STATISTICS) for name in names)


@pytest.mark.parametrize("scope", ["decoder", "attention"])
def test_batch_norms_outside_the_scope_keep_their_statistics(changed, scope):
    found = changed(scope)
    assert found
    assert not has_statistics(found)
    assert all(any(f".{part}." in f".{name}." for part in families.SCOPES[scope]) for name in found)


@pytest.mark.parametrize("scope", ["encoder", "all"])
def test_batch_norms_in_the_scope_change_their_statistics(changed, scope):
    assert has_statistics(changed(scope))


def test_only_batch_norms_in_the_scope_need_whole_batches(tiny_bundle):
    weights = tiny_bundle.weights()
    whole = {
        scope: TrainableModel.build(tiny_bundle, weights, replace(QUICK, scope=scope)).uses_batch_statistics
        for scope in ("encoder", "decoder")
    }
    assert whole == {"encoder": True, "decoder": False}


def test_embeddings_have_no_effect_in_a_scope_without_the_decoder(tiny_moonshine):
    weights = tiny_moonshine.weights()

    def trained(scope, embeddings):
        settings = replace(QUICK, scope=scope, embeddings=embeddings)
        return TrainableModel.build(tiny_moonshine, weights, settings).trained.keys()

    assert trained("encoder", embeddings=True) == trained("encoder", embeddings=False)
    assert trained("decoder", embeddings=True) > trained("decoder", embeddings=False)


def test_an_unknown_scope_is_an_error_that_lists_the_scopes(tiny_bundle, noise):
    with pytest.raises(BadInputError, match=r"^there is no scope 'hearing'; there are acoustic, all, encoder, "):
        finetune(tiny_bundle, tiny_bundle.weights(), noise, [], replace(QUICK, scope="hearing"))


def test_a_scope_that_the_model_lacks_is_an_error(tiny_bundle, noise):
    with pytest.raises(BadInputError, match="no weights in the scope 'lora'"):
        finetune(tiny_bundle, tiny_bundle.weights(), noise, [], replace(QUICK, scope="lora"))


@pytest.mark.parametrize(("is_fast", "expected"), [(True, attention.FLOAT32), (False, "sdpa")])
def test_attention_is_in_float32_where_the_rest_is_in_bfloat16(tiny_moonshine, monkeypatch, is_fast, expected):
    monkeypatch.setattr("trainer.training.model.is_bf16_fast", lambda _device: is_fast)
    model = TrainableModel.build(tiny_moonshine, tiny_moonshine.weights(), QUICK)
    assert model.network.config._attn_implementation == expected
