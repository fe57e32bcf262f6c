"""`asr-edge train`: the trained bundle, resuming an interrupted run, and one-line errors."""

import contextlib
import importlib.util
import json
import shutil

import pytest

from device_app.cli.terminal import progress
from editing.errors import BadInputError
from export.bundle import GRAPHS, NEMO_GRAPH, Bundle
from tests.conftest import TINY_TEXTS
from tests.trainer.cli.conftest import outline
from tests.trainer.conftest import TINY
from trainer.families import conformer_ctc
from trainer.training import checkpoint, from_scratch


@pytest.fixture(autouse=True)
def _small_is_tiny(monkeypatch, tiny_bundle):
    """Gives --config small the size and the exported graphs of the tiny bundle."""

    def copy_graphs(_model, folder):
        shutil.copytree(tiny_bundle.folder / GRAPHS, folder / GRAPHS)
        (folder / NEMO_GRAPH).parent.mkdir()
        shutil.copyfile(tiny_bundle.folder / NEMO_GRAPH, folder / NEMO_GRAPH)

    monkeypatch.setitem(conformer_ctc.CONFIGS, "small", TINY)
    monkeypatch.setattr(from_scratch, "export_conformer_ctc", copy_graphs)


@pytest.fixture
def speech(manifest):
    """Three training utterances with every letter of the tiny bundle's vocabulary, one of "dev" and one of "test"."""
    training = [(text, "train") for text in TINY_TEXTS]
    return manifest("speech", *training, ("six seven", "dev"), ("nine", "test"), seconds=7.0)


def test_the_trained_bundle_transcribes(asr, speech, tmp_path):
    out = tmp_path / "own"
    done = asr("train", speech, "--out", out, "--epochs", 2)
    assert (done.code, done.out.split(", training loss")[0]) == (0, f"{out}: trained in 0 min")
    assert done.err == (
        f"Training on 3 utterances, validating on 1 ...\nTranscribe with it: asr-edge transcribe --model {out} FILE\n"
    )
    assert Bundle.open(out).name == "conformer-ctc-small"
    assert not out.with_name("own.training").exists()
    done = asr("transcribe", "--model", out, "--format", "json", speech.parent / "3.wav")
    assert done.code == 0
    assert isinstance(json.loads(done.out)["text"], str)


def test_train_as_json(asr, speech, tmp_path):
    done = asr("train", speech, "--out", tmp_path / "own", "--epochs", 2, "--seed", 3, "--json")
    assert outline(json.loads(done.out)) == {
        "bundle": str(tmp_path / "own"),
        "training_losses": ["float", "float"],
        "validation_losses": ["float", "float", "float"],
        "seconds": "float",
        "audio_s": "float",
    }


def test_epochs_and_seed_reach_the_training(asr, speech, tmp_path, monkeypatch):
    asked = []

    def train(_training, _validation, _config, _out, settings, **_options):
        asked.append(settings)
        raise BadInputError("stopped by the test")

    monkeypatch.setattr("trainer.training.from_scratch.train", train)
    assert asr("train", speech, "--out", tmp_path / "own", "--epochs", 7, "--seed", 3).code == 1
    assert [(one.epochs, one.seed) for one in asked] == [(7, 3)]


def test_several_manifests_are_combined_and_some_utterances_are_for_validation(asr, manifest, tmp_path):
    first = manifest("first", *[(text, "") for text in TINY_TEXTS], *[("zero one", "")] * 7, seconds=4.0)
    second = manifest("second", *[("two three", "train")] * 10, seconds=2.0)
    done = asr("train", first, second, "--out", tmp_path / "own", "--epochs", 1)
    assert done.code == 0
    assert done.err.startswith("Training on 18 utterances, validating on 2 ...\n")


def test_vocabulary_sets_the_number_of_subword_units(asr, speech, tmp_path):
    assert asr("train", speech, "--out", tmp_path / "own", "--epochs", 1, "--vocabulary", 40).code == 0
    assert Bundle.open(tmp_path / "own").config["vocab_size"] == 41  # with the blank


def test_an_interrupted_run_resumes_and_gives_the_same_weights(asr, speech, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "CHECKPOINT_S", -1.0)
    seen = []

    @contextlib.contextmanager
    def interrupting():
        def show(step, _steps, _epoch, _loss):
            seen.append(step)
            if seen == [1, 2]:
                raise KeyboardInterrupt

        yield show

    command = ("train", speech, "--epochs", 3, "--out")
    assert asr(*command, tmp_path / "whole").code == 0
    monkeypatch.setattr(progress, "finetuning_progress", interrupting)
    assert asr(*command, tmp_path / "broken").code == 130
    assert not (tmp_path / "broken").exists()
    assert (tmp_path / "broken.training" / "checkpoint.safetensors").is_file()
    assert asr(*command, tmp_path / "broken").code == 0
    assert seen == [1, 2, 2, 3]  # the last checkpoint was written after the first update
    whole, broken = Bundle.open(tmp_path / "whole"), Bundle.open(tmp_path / "broken")
    assert whole.weights_hash == broken.weights_hash


def test_errors_are_one_line_and_nothing_is_written(asr, manifest, speech, tmp_path):
    existing, own = tmp_path / "existing", tmp_path / "own"
    existing.mkdir()
    only_test = manifest("only-test", ("nine", "test"))
    cases = {
        (speech, "--out", existing): f"{existing}: already exists; name a new folder",
        (tmp_path / "no.jsonl", "--out", own): f"{tmp_path}/no.jsonl: there is no such manifest",
        (only_test, "--out", own): "there are no utterances to train on",
        (speech, "--out", own, "--vocabulary", 3): "a vocabulary of 3 is too small: the texts have 28 characters",
    }
    for arguments, line in cases.items():
        done = asr("train", *arguments)
        assert (done.code, done.out, done.err.splitlines()[-1]) == (1, "", f"asr-edge: {line}")
    assert not own.exists()
    assert not list(existing.iterdir())


@pytest.mark.parametrize(
    "wrong", [["--config", "huge"], ["--epochs", 0], ["--vocabulary", 1], ["--family", "moonshine"], []]
)
def test_wrong_options_exit_with_2(asr, speech, tmp_path, wrong):
    out = ["--out", tmp_path / "own"] if wrong else []
    assert asr("train", speech, *out, *wrong).code == 2


def test_without_torch_the_error_names_the_extra(asr, speech, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name))
    done = asr("train", speech, "--out", tmp_path / "own")
    assert done.code == 1
    assert "pip install '.[train]'" in done.err
