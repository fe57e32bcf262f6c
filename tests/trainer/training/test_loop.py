"""Fine-tuning a tiny Moonshine on real speech. A short run of the embedded model is marked slow."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from device_app.data.utterance import Utterance
from editing.errors import BadInputError, TrainingError
from tests.conftest import write_audio
from trainer import families
from trainer.families import moonshine
from trainer.training import checkpoint as checkpoints
from trainer.training.data import load_examples
from trainer.training.distillation import load_distillation_set
from trainer.training.distributed import Group
from trainer.training.early_stopping import CLEARLY_WORSE
from trainer.training.finetuning import finetune_on_recordings
from trainer.training.settings import FineTuningSettings, default_epochs

# Random weights need a higher learning rate than trained ones.
QUICK = FineTuningSettings(epochs=2, batch_s=9.0, patience=9, scope="all", learning_rate=1e-3)
EMBEDDINGS = "model.decoder.embed_tokens.weight"


@pytest.fixture(scope="module")
def labelled(codes):
    lines = [json.loads(line) for line in codes.read_text("utf-8").splitlines()]
    return [Utterance(audio=codes.parent / line["audio"], text=line["text"]) for line in lines]


@pytest.fixture(scope="module")
def weights(tiny_moonshine):
    return tiny_moonshine.weights()


@pytest.fixture
def model(tiny_moonshine, weights):
    model = moonshine.build(tiny_moonshine.config, "sdpa")
    families.load_weights(model, weights)
    return model


@pytest.fixture
def run_finetuning(tiny_moonshine, weights, labelled):
    def run(settings=QUICK, held_out=labelled[4:5], **more):
        return finetune_on_recordings(tiny_moonshine, weights, labelled[:4], held_out, settings, **more)

    return run


def changed(found, weights):
    return {name for name in weights if not np.array_equal(found.weights[name], weights[name])}


def test_the_loss_of_a_padded_batch_is_the_sum_over_single_utterances(model, tiny_moonshine, labelled):
    moonshine.prepare(model)
    examples = load_examples(labelled[:4], moonshine.tokenise(tiny_moonshine))
    audio = [one.read() for one in examples]
    assert len({len(one) for one in audio}) > 1
    with torch.no_grad():
        alone = []
        for one, example in zip(audio, examples, strict=True):
            batch = torch.from_numpy(one)[None], torch.tensor([len(one)]), [example.tokens]
            alone.append(float(moonshine.loss(model, *batch)[0]))
        padded = torch.zeros(len(audio), max(map(len, audio)) + 5000)
        for row, one in zip(padded, audio, strict=True):
            row[: len(one)] = torch.from_numpy(one)
        lengths = torch.tensor([len(one) for one in audio])
        total, tokens = moonshine.loss(model, padded, lengths, [example.tokens for example in examples])
    assert tokens == sum(len(example.tokens) for example in examples)
    assert float(total) == pytest.approx(sum(alone), rel=1e-4)


def test_the_loss_equals_that_of_transformers(model, tiny_moonshine, labelled):
    (example,) = load_examples(labelled[:1], moonshine.tokenise(tiny_moonshine))
    audio = torch.from_numpy(example.read())[None]
    with torch.no_grad():
        expected = model(input_values=audio, labels=torch.tensor([example.tokens])).loss
        moonshine.prepare(model)
        total, tokens = moonshine.loss(model, audio, torch.tensor([audio.shape[1]]), [example.tokens])
    assert float(total) / tokens == pytest.approx(float(expected), rel=1e-4)


def test_the_loss_falls_and_the_same_seed_gives_the_same_weights(run_finetuning, labelled, weights):
    def run(settings=QUICK):
        return run_finetuning(settings, held_out=labelled[:1])  # a model this small does not generalise

    first, second, other = run(), run(), run(replace(QUICK, seed=1))
    assert first.training_losses[-1] < first.training_losses[0]
    assert first.validation_losses[-1] < first.validation_losses[0]
    assert first.training_losses == second.training_losses
    for name in weights:
        np.testing.assert_array_equal(first.weights[name], second.weights[name])
    assert changed(other, first.weights)


def test_dropout_and_feature_masks_have_random_numbers_of_the_process(run_finetuning, monkeypatch):
    """Regression: all processes that train together dropped the same activations."""
    seeds = []
    monkeypatch.setattr(Group, "own_seed", lambda _group, seed: seed + 7)
    monkeypatch.setattr(torch, "manual_seed", seeds.append)
    run_finetuning(replace(QUICK, epochs=1, seed=2))
    assert 2 * 1_000_003 + 7 in seeds


@pytest.mark.slow
def test_the_embedded_model_is_fine_tuned_deterministically_with_distillation(bundle, labelled):
    weights = bundle.weights()
    distillation_set = load_distillation_set(bundle)[:4]
    settings = replace(QUICK, learning_rate=FineTuningSettings.learning_rate)
    first, second = (
        finetune_on_recordings(
            bundle, weights, labelled[:4], labelled[4:5], settings, distillation_set=distillation_set
        )
        for _ in range(2)
    )
    assert first.validation_losses[-1] < first.validation_losses[0]
    assert first.training_losses == second.training_losses
    assert changed(first, weights) == weights.keys() - {EMBEDDINGS}


def test_embeddings_are_trained_only_on_request(run_finetuning, weights):
    assert changed(run_finetuning(), weights) == weights.keys() - {EMBEDDINGS}
    assert changed(run_finetuning(replace(QUICK, epochs=1, embeddings=True)), weights) == weights.keys()


@pytest.mark.parametrize(
    ("scope", "parts"),
    [
        ("acoustic", (".encoder.", "encoder_attn.")),
        ("encoder", (".encoder.",)),
        ("decoder", (".decoder.",)),
        ("attention", ("self_attn.", "encoder_attn.")),
    ],
)
def test_only_weights_in_the_scope_change(run_finetuning, weights, scope, parts):
    found = changed(run_finetuning(replace(QUICK, epochs=1, scope=scope)), weights)
    assert all(any(part in name for name in found) for part in parts)
    assert all(any(part in name for part in parts) for name in found)


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    "settings", [QUICK, replace(QUICK, epochs=3, target_loss=100.0)], ids=["all epochs", "target loss"]
)
def test_a_killed_run_resumes_and_gives_the_same_weights(
    run_finetuning, labelled, weights, tiny_moonshine, tmp_path, monkeypatch, settings
):
    monkeypatch.setattr(checkpoints, "CHECKPOINT_S", 0.0)
    others = load_examples(labelled[5:9], moonshine.tokenise(tiny_moonshine))
    distillation_set = [replace(one, samples=one.read(), start=0, end=one.end - one.start) for one in others]
    whole = run_finetuning(settings, distillation_set=distillation_set)
    assert len(whole.training_losses) == 2
    checkpoint = tmp_path / "run.safetensors"
    steps = []

    def kill(progress):
        steps.append(progress.step)
        if progress.step == 3:
            raise Killed

    with pytest.raises(Killed):
        run_finetuning(settings, checkpoint=checkpoint, on_step=kill, distillation_set=distillation_set)
    resumed = []
    found = run_finetuning(
        settings, checkpoint=checkpoint, on_step=lambda at: resumed.append(at.step), distillation_set=distillation_set
    )
    assert resumed[0] == 3  # the last checkpoint was written after update 2
    assert found.training_losses == whole.training_losses
    assert found.validation_losses == whole.validation_losses
    for name in weights:
        np.testing.assert_array_equal(found.weights[name], whole.weights[name])


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"garbage" * 100])
def test_a_damaged_checkpoint_is_ignored(run_finetuning, tmp_path, content):
    checkpoint = tmp_path / "run.safetensors"
    checkpoint.write_bytes(content)
    assert len(run_finetuning(replace(QUICK, epochs=1), checkpoint=checkpoint).training_losses) == 1


def test_stops_early_when_the_validation_loss_rises_and_returns_the_best_weights(
    run_finetuning, labelled, tiny_moonshine
):
    """The held-out transcript has other words, which training makes less probable after the first epochs."""
    other = replace(labelled[4], text="none of these words was spelled before")
    found = run_finetuning(
        FineTuningSettings(epochs=30, batch_s=60.0, learning_rate=1e-2, patience=2), held_out=[other]
    )
    assert len(found.training_losses) < 30
    best = found.validation_losses.index(min(found.validation_losses))
    assert 0 < best < len(found.training_losses)
    assert all(loss > found.validation_losses[best] + CLEARLY_WORSE for loss in found.validation_losses[-2:])
    unchanged = FineTuningSettings(epochs=1, learning_rate=0.0)
    returned = finetune_on_recordings(tiny_moonshine, found.weights, labelled[:1], [other], unchanged)
    assert returned.validation_losses[0] == pytest.approx(found.validation_losses[best], rel=1e-5)


def test_training_stops_one_epoch_after_the_target_loss(run_finetuning):
    first, second, *_ = run_finetuning(replace(QUICK, epochs=4)).training_losses
    between = (first + second) / 2
    rates = []
    found = run_finetuning(
        replace(QUICK, epochs=9, target_loss=between), on_step=lambda at: rates.append(at.step / at.steps)
    )
    assert len(found.training_losses) == 3
    assert rates[-1] == 1


def test_a_loss_that_is_not_finite_is_an_error(run_finetuning, monkeypatch):
    loss = families.moonshine.loss
    not_finite = lambda *inputs, **more: (loss(*inputs, **more)[0] * float("nan"), 1)  # noqa: E731
    monkeypatch.setattr(families.moonshine, "loss", not_finite)
    with pytest.raises(TrainingError, match="not a number"):
        run_finetuning()


@pytest.mark.parametrize(("bad", "ends"), [({1}, False), ({0, 2}, False), ({0, 1, 2}, True)])
def test_updates_with_a_gradient_that_is_not_finite_are_left_out(run_finetuning, monkeypatch, bad, ends):
    loss, calls = families.moonshine.loss, iter(range(1000))

    def with_bad_gradients(model, *inputs, **more):
        total, tokens = loss(model, *inputs, **more)
        if model.training and next(calls) in bad:
            total = total + (0 * total).sqrt()  # + 0, but its gradient is 0 times infinity
        return total, tokens

    monkeypatch.setattr(families.moonshine, "loss", with_bad_gradients)
    if ends:
        with pytest.raises(TrainingError, match="gradient is not a number in 3 updates in a row, up to update 2"):
            run_finetuning()
    else:
        assert all(np.isfinite(tensor).all() for tensor in run_finetuning().weights.values())


def test_out_of_memory_is_an_error_with_a_remedy(run_finetuning, monkeypatch):
    def exhausted(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 TB")

    monkeypatch.setattr(families.moonshine, "loss", exhausted)
    with pytest.raises(TrainingError, match="memory ran out"):
        run_finetuning()


def test_recordings_without_speech_are_an_error(tiny_moonshine, weights, tmp_path):
    silent = [
        Utterance(audio=write_audio(tmp_path / f"{i}.flac", np.zeros(32000, np.float32)), text="hello")
        for i in range(3)
    ]
    with pytest.raises(BadInputError, match="no speech"):
        finetune_on_recordings(tiny_moonshine, weights, silent, [], QUICK)


def test_the_error_for_a_text_that_is_too_long_names_the_recording(tiny_moonshine, weights, labelled):
    with pytest.raises(BadInputError, match=r"000\.flac: its text has \d+ tokens; the model writes at most 194"):
        finetune_on_recordings(
            tiny_moonshine, weights, [Utterance(audio=labelled[0].audio, text="antidisestablishment " * 60)], [], QUICK
        )


def test_characters_outside_the_vocabulary_become_byte_tokens(bundle):
    tokenise = moonshine.tokenise(bundle)
    assert len(tokenise("☃")) > 2
    assert tokenise("☃") != tokenise("☂")


@pytest.mark.parametrize(("utterances", "epochs"), [(1, 10), (10, 10), (50, 6), (300, 4), (2000, 3), (10**6, 3)])
def test_fewer_utterances_have_more_epochs(utterances, epochs):
    assert default_epochs(utterances) == epochs
