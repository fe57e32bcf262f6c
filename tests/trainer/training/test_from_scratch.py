"""Training from scratch: the bundle, the curriculum, and resuming after a kill."""

import json
from dataclasses import replace

import pytest

from device_app.data.manifest import read_manifest
from device_app.recognition.transcriber import Transcriber
from editing.errors import BadInputError
from export.bundle import Bundle
from tests.conftest import write_audio
from tests.trainer.conftest import TINY
from trainer.families import conformer_ctc
from trainer.training import checkpoint, from_scratch
from trainer.training.finetuning import finetune_on_recordings
from trainer.training.from_scratch import SETTINGS, train

QUICK = replace(SETTINGS, epochs=2, curriculum_epochs=1, batch_s=4.0)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch, tiny_bundle):
    monkeypatch.setitem(conformer_ctc.CONFIGS, "tiny", TINY)
    # The export takes seconds; all tiny models have the graphs of the tiny bundle.
    monkeypatch.setattr(from_scratch, "new_bundle", lambda _texts, _config, out, *_more: _copied(tiny_bundle, out))


def _copied(bundle, out):
    return from_scratch.with_weights(bundle, bundle.weights(), out)


@pytest.fixture
def entries(tmp_path, prompt):
    lines = []
    for number, text in enumerate(["zero one", "two", "three four", "a fox"]):
        audio = write_audio(tmp_path / f"{number}.wav", prompt[9000 * number :][:16000])
        lines.append({"audio": audio.name, "text": text})
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_manifest(tmp_path / "m.jsonl")


def test_training_writes_a_bundle_that_transcribes(entries, tmp_path, tiny_bundle, prompt):
    steps = []
    tuned = train(entries[:3], entries[3:], "tiny", tmp_path / "out", QUICK, on_step=steps.append)
    trained = Bundle.open(tmp_path / "out")
    trained.check()
    assert trained.family == "conformer-ctc"
    assert trained.weights_hash != tiny_bundle.weights_hash
    assert len(tuned.training_losses) == 2
    assert steps[-1].step == steps[-1].steps
    assert not (tmp_path / "out.training").exists()
    Transcriber(trained, threads=2).transcribe(prompt, 16000)


def test_a_killed_run_resumes_from_its_checkpoint(entries, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "CHECKPOINT_S", -1.0)
    settings = replace(QUICK, batch_s=2.5)
    whole = train(entries, entries, "tiny", tmp_path / "whole", settings)
    seen = []

    def kill(progress):
        seen.append(progress.step)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(entries, entries, "tiny", tmp_path / "out", settings, on_step=kill)
    again = []
    resumed = train(entries, entries, "tiny", tmp_path / "out", settings, on_step=lambda at: again.append(at.step))
    assert again[0] == 3  # the last checkpoint was after the second update
    assert resumed.training_losses == pytest.approx(whole.training_losses)
    assert Bundle.open(tmp_path / "out").weights_hash == Bundle.open(tmp_path / "whole").weights_hash


def test_an_unfinished_run_of_another_model_is_refused(entries, tmp_path, monkeypatch, tiny_bundle):
    """Regression: with another configuration or vocabulary, the unfinished run's model was trained and returned."""

    def stop(_progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(entries, entries, "tiny", tmp_path / "out", QUICK, on_step=stop)
    for config, vocabulary in (("small", None), ("tiny", 60)):
        with pytest.raises(BadInputError, match=r"out\.training: has an unfinished training with another --config"):
            train(entries, entries, config, tmp_path / "out", QUICK, vocabulary=vocabulary)
    assert train(entries, entries, "tiny", tmp_path / "out", QUICK).training_losses


def test_utterances_are_held_out_if_the_manifest_has_no_dev_split(entries, tmp_path):
    counts = []
    many = [replace(entries[number % 4], id=str(number)) for number in range(20)]
    train(many, [], "tiny", tmp_path / "out", replace(QUICK, epochs=1), on_start=lambda *both: counts.append(both))
    assert counts == [(18, 2)]


def test_a_curriculum_epoch_runs_from_short_to_long_without_augmentation(entries, tiny_bundle, monkeypatch):
    batches = []
    loss = conformer_ctc.loss

    def spy(model, audio, lengths, targets, augment=False):
        batches.append((augment, int(lengths.max())))
        return loss(model, audio, lengths, targets, augment)

    monkeypatch.setattr(conformer_ctc, "loss", spy)
    finetune_on_recordings(tiny_bundle, tiny_bundle.weights(), entries, [], replace(QUICK, batch_s=0.5))
    assert [augment for augment, _ in batches] == [False] * 4 + [True] * 4
    curriculum = [length for _, length in batches[:4]]
    assert curriculum == sorted(curriculum)


def test_an_existing_folder_or_an_empty_training_set_is_an_error(entries, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(BadInputError, match="already exists"):
        train(entries, [], "tiny", tmp_path / "out", QUICK)
    with pytest.raises(BadInputError, match="no utterances to train on"):
        train([], entries, "tiny", tmp_path / "other", QUICK)


def test_a_training_folder_with_other_files_is_refused_and_kept(entries, tmp_path):
    """Regression: `train voices.training/manifest.jsonl --out voices` removed the recordings after training."""
    (tmp_path / "voices.training").mkdir()
    (tmp_path / "voices.training" / "a.wav").write_bytes(b"mine")
    with pytest.raises(BadInputError, match=r"voices\.training: .*it has a\.wav; nothing was changed"):
        train(entries, [], "tiny", tmp_path / "voices", QUICK)
    assert (tmp_path / "voices.training" / "a.wav").read_bytes() == b"mine"
