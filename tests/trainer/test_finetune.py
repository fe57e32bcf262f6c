"""The loop on the real model and real speech, a few updates at a time."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from device_app.lesson import Labelled
from editing.errors import BadInputError, TrainingError
from tests.conftest import write_audio
from trainer import families, finetune
from trainer.anchor import general_speech
from trainer.dataset import load_examples
from trainer.families import moonshine
from trainer.finetune import Settings, default_epochs

QUICK = Settings(epochs=2, batch_s=9.0, patience=9, scope="all")


@pytest.fixture(scope="module")
def labelled(codes):
    lines = [json.loads(line) for line in codes.read_text("utf-8").splitlines()]
    return [Labelled(codes.parent / line["audio"], line["text"]) for line in lines]


@pytest.fixture(scope="module")
def weights(bundle):
    return bundle.weights()


@pytest.fixture
def learn(bundle, weights, labelled):
    def run(settings=QUICK, **more):
        return finetune.learn(bundle, weights, labelled[:4], labelled[4:5], settings, **more)

    return run


def changed(found, weights):
    return {name for name in weights if not np.array_equal(found.weights[name], weights[name])}


def test_a_padded_batch_is_heard_as_its_utterances_are_alone(bundle, weights, labelled):
    model = moonshine.build(bundle.config, "sdpa")
    families.load_weights(model, weights)
    moonshine.prepare(model)
    examples = load_examples(labelled[:4], moonshine.tokenise(bundle))
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


def test_the_loss_is_transformers_own(bundle, weights, labelled):
    model = moonshine.build(bundle.config, "sdpa")
    families.load_weights(model, weights)
    (example,) = load_examples(labelled[:1], moonshine.tokenise(bundle))
    audio = torch.from_numpy(example.read())[None]
    with torch.no_grad():
        expected = model(input_values=audio, labels=torch.tensor([example.tokens])).loss
        moonshine.prepare(model)
        total, tokens = moonshine.loss(model, audio, torch.tensor([audio.shape[1]]), [example.tokens])
    assert float(total) / tokens == pytest.approx(float(expected), rel=1e-4)


def test_it_learns_and_the_same_seed_gives_the_same_weights(learn, weights):
    first, second, other = learn(), learn(), learn(replace(QUICK, seed=1))
    assert first.held_out[-1] < first.held_out[0]
    assert first.losses == second.losses
    for name in weights:
        np.testing.assert_array_equal(first.weights[name], second.weights[name])
    assert changed(other, first.weights)


def test_embeddings_stay_unless_asked_for(learn, weights):
    embeddings = "model.decoder.embed_tokens.weight"
    found = changed(learn(), weights)
    assert embeddings not in found
    assert len(found) == len(weights) - 1
    assert embeddings in changed(learn(replace(QUICK, epochs=1, embeddings=True)), weights)


@pytest.mark.parametrize(
    ("scope", "parts"),
    [
        ("hearing", (".encoder.", "encoder_attn.")),
        ("encoder", (".encoder.",)),
        ("decoder", (".decoder.",)),
        ("attention", ("self_attn.", "encoder_attn.")),
    ],
)
def test_a_scope_leaves_the_rest_alone(learn, weights, scope, parts):
    found = changed(learn(replace(QUICK, epochs=1, scope=scope)), weights)
    assert all(any(part in name for name in found) for part in parts)
    assert all(any(part in name for part in parts) for name in found)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("settings", [QUICK, replace(QUICK, epochs=3, enough=100.0)], ids=["to its end", "shortened"])
def test_a_run_that_was_killed_goes_on_to_the_same_weights(bundle, learn, weights, tmp_path, monkeypatch, settings):
    monkeypatch.setattr(finetune, "CHECKPOINT_S", 0.0)
    general = general_speech(bundle, weights, seed=0)[:4]
    whole = learn(settings, general=general)
    assert len(whole.losses) == 2
    checkpoint = tmp_path / "run.safetensors"
    steps = []

    def kill(progress):
        steps.append(progress.step)
        if progress.step == 3:
            raise Killed

    with pytest.raises(Killed):
        learn(settings, checkpoint=checkpoint, on_step=kill, general=general)
    resumed = []
    found = learn(settings, checkpoint=checkpoint, on_step=lambda at: resumed.append(at.step), general=general)
    assert resumed[0] == 3  # the checkpoint of update 2 was the last
    assert found.losses == whole.losses
    assert found.held_out == whole.held_out
    for name in weights:
        np.testing.assert_array_equal(found.weights[name], whole.weights[name])


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"garbage" * 100])
def test_a_damaged_checkpoint_is_passed_over(learn, tmp_path, content):
    checkpoint = tmp_path / "run.safetensors"
    checkpoint.write_bytes(content)
    assert len(learn(replace(QUICK, epochs=1), checkpoint=checkpoint).losses) == 1


def test_it_stops_when_held_out_utterances_are_no_longer_heard_better(learn):
    settings = Settings(epochs=30, batch_s=60.0, learning_rate=1e-3, patience=1)
    found = learn(settings)
    assert len(found.losses) < 30


def test_it_goes_over_what_is_learnt_once_more_and_stops(learn):
    every = learn(replace(QUICK, epochs=4))
    between = (every.losses[0] + every.losses[1]) / 2  # the first epoch's loss is above it, the second's below
    rates = []
    found = learn(replace(QUICK, epochs=9, enough=between), on_step=lambda at: rates.append(at.step / at.steps))
    assert len(found.losses) == 3
    assert rates[-1] == 1


def test_a_loss_that_is_not_a_number_stops_it(learn):
    with pytest.raises(TrainingError, match="not a number"):
        learn(replace(QUICK, learning_rate=float("inf"), warm_up=0.0))


def test_memory_that_runs_out_is_told(learn, monkeypatch):
    def exhausted(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 TB")

    monkeypatch.setattr(families.moonshine, "loss", exhausted)
    with pytest.raises(TrainingError, match="memory ran out"):
        learn()


def test_silence_is_nothing_to_learn_from(bundle, weights, tmp_path):
    silent = [Labelled(write_audio(tmp_path / f"{i}.flac", np.zeros(32000, np.float32)), "hello") for i in range(3)]
    with pytest.raises(BadInputError, match="no speech"):
        finetune.learn(bundle, weights, silent, [], QUICK)


def test_a_text_too_long_for_the_model_names_its_recording(bundle, weights, labelled):
    with pytest.raises(BadInputError, match=r"000\.flac: its text has \d+ tokens; the model writes at most 194"):
        finetune.learn(bundle, weights, [Labelled(labelled[0].audio, "antidisestablishment " * 60)], [], QUICK)


def test_characters_that_the_vocabulary_lacks_are_spelled_in_bytes(bundle):
    tokenise = moonshine.tokenise(bundle)
    assert len(tokenise("☃")) > 2
    assert tokenise("☃") != tokenise("☂")


@pytest.mark.parametrize(("utterances", "epochs"), [(1, 10), (10, 10), (50, 6), (300, 4), (2000, 3), (10**6, 3)])
def test_few_utterances_are_gone_over_more_often(utterances, epochs):
    assert default_epochs(utterances) == epochs
