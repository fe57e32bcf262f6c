"""`asr-edge convert`: converts a model folder of transformers into a bundle that transcribes."""

import json

import pytest

from export.bundle import GRAPHS, Bundle
from tests.trainer.families.test_auto_ctc import saved
from trainer.convert import ctc as import_ctc


@pytest.fixture
def checkpoint(tmp_path):
    saved(tmp_path / "w2v", "wav2vec2")
    return tmp_path / "w2v"


def test_the_converted_bundle_transcribes(asr, checkpoint, manifest, tmp_path):
    out = tmp_path / "bundle"
    done = asr("convert", checkpoint, "--out", out, "--name", "mine")
    assert (done.code, done.out) == (0, f"{out}: mine, auto-ctc, en, LicenseRef-unknown\n")
    assert done.err.splitlines()[-1] == f"Transcribe with it: asr-edge transcribe --model {out} FILE"
    assert Bundle.open(out).origin == f"converted from {checkpoint}"
    speech = manifest("speech", ("one", ""))
    done = asr("transcribe", "--model", out, "--format", "json", speech.parent / "0.wav")
    assert done.code == 0
    assert isinstance(json.loads(done.out)["text"], str)


def test_the_bundle_name_defaults_to_the_folder_name(asr, checkpoint, tmp_path, monkeypatch):
    def fake_export(_model, folder):  # an export takes seconds
        (folder / GRAPHS).mkdir()
        (folder / GRAPHS / "ctc.onnx").write_bytes(b"")

    monkeypatch.setattr(import_ctc, "export_auto_ctc", fake_export)
    assert (
        asr("convert", checkpoint, "--out", tmp_path / "bundle").out
        == f"{tmp_path}/bundle: w2v, auto-ctc, en, LicenseRef-unknown\n"
    )


def test_errors_are_one_line_and_nothing_is_written(asr, checkpoint, tmp_path, monkeypatch):
    out = tmp_path / "bundle"
    (tmp_path / "empty").mkdir()
    done = asr("convert", tmp_path / "empty", "--out", out)
    assert (done.code, done.out) == (1, "")
    assert f"asr-edge: {tmp_path}/empty: is not a model of transformers (config.json is missing)" in done.err
    done = asr("convert", "no such/ folder", "--out", out)
    assert (done.code, done.out) == (1, "")
    assert "neither a folder nor a name" in done.err
    (checkpoint / "vocab.json").write_text(json.dumps({"<pad>": 0, "|": 1, "th": 2}))
    done = asr("convert", checkpoint, "--out", out)
    line = (
        f"asr-edge: {checkpoint}/vocab.json: 'th' is not a single character; only character vocabularies are supported"
    )
    assert (done.code, done.err.splitlines()[-1]) == (1, line)
    assert not out.exists()


def test_an_existing_folder_is_not_changed(asr, checkpoint, tmp_path):
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert asr("convert", checkpoint, "--out", out).code == 1
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_out_is_required(asr, checkpoint):
    assert asr("convert", checkpoint).code == 2
