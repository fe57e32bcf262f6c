"""Synthetic speech from espeak-ng and flite; the tests skip where these programs are not installed."""

import inspect
import json
import shutil

import pytest

from device_app.audio.samples import read
from editing.errors import BadInputError, MissingDependencyError, StorageError
from trainer.cli.lifelong import synthesise as command
from trainer.lifelong.corpora import synthetic
from trainer.lifelong.corpora.synthetic import ACCENTS, TEST_VARIANTS, TRAIN_VARIANTS, Sizes, synthesise

SIZES = Sizes(base=20, train=4, test=4)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    if any(shutil.which(name) is None for name in ("espeak-ng", "flite")):
        pytest.skip("espeak-ng and flite are not installed")
    return synthesise(tmp_path_factory.mktemp("accents"), SIZES)


def lines(manifest):
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def test_every_accent_has_train_and_test_splits_of_the_given_sizes(spoken):
    assert [manifest.parent.name for manifest in spoken] == [accent.name for accent in ACCENTS]
    for place, manifest in enumerate(spoken):
        splits = [line["split"] for line in lines(manifest)]
        assert (splits.count("train"), splits.count("test")) == (4 if place else 20, 4)


def test_train_and_test_share_no_sentence_and_no_voice(spoken):
    everything = [line for manifest in spoken for line in lines(manifest)]
    for key in ("text", "speaker"):
        train, test = (
            {line[key].rpartition("-")[2] for line in everything if line["split"] == s} for s in ("train", "test")
        )
        assert train
        assert not train & test
    assert not set(TRAIN_VARIANTS) & set(TEST_VARIANTS)


def test_manifests_have_the_durations_of_the_recordings(spoken):
    for manifest in spoken:
        for line in lines(manifest):
            audio = read(manifest.parent / line["audio"])
            assert len(audio) / 16000 == pytest.approx(line["duration"], abs=0.01)
            assert abs(audio).max() > 0.05


def test_speech_is_deterministic_for_a_seed(spoken, tmp_path):
    again = synthesise(tmp_path, SIZES)
    assert [lines(manifest) for manifest in again] == [lines(manifest) for manifest in spoken]
    assert (read(again[2].parent / "audio/test-00000.flac") == read(spoken[2].parent / "audio/test-00000.flac")).all()


def test_existing_accents_are_kept(spoken):
    before = spoken[0].stat().st_mtime_ns
    synthesise(spoken[0].parent.parent, SIZES)
    assert spoken[0].stat().st_mtime_ns == before


def test_accents_of_another_seed_or_other_sizes_are_not_returned_as_those_asked_for(spoken):
    before = spoken[0].read_bytes()
    for sizes, seed in ((SIZES, 1), (Sizes(base=20, train=4, test=5), 0)):
        with pytest.raises(BadInputError, match=r"us/manifest.jsonl: has 24 utterances of another seed or other sizes"):
            synthesise(spoken[0].parent.parent, sizes, seed)
    assert spoken[0].read_bytes() == before


@pytest.mark.parametrize(
    ("script", "reason"),
    [("echo no such voice >&2; exit 1", "no such voice"), ("exit 0", "not found"), ("echo data", "")],
)
def test_a_synthesiser_that_gives_no_speech_is_an_error_that_names_its_command(tmp_path, monkeypatch, script, reason):
    for name in ("espeak-ng", "flite"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    with pytest.raises(MissingDependencyError, match=rf"(espeak-ng|flite): gave no speech for -v.* \(.*{reason}"):
        synthesise(tmp_path / "accents", Sizes(1, 1, 1))
    assert not (tmp_path / "accents" / "us" / "manifest.jsonl").exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic.shutil, "which", lambda name: name)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="us: cannot be written"):
        synthesise(tmp_path / "file", Sizes(1, 1, 1))


def test_the_command_and_the_function_have_the_same_sizes_by_default():
    defaults = inspect.signature(command).parameters
    assert Sizes() == Sizes(*(defaults[name].default for name in ("base", "train", "test")))


def test_without_the_programs_the_error_says_how_to_install_them(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic.shutil, "which", lambda _name: None)
    with pytest.raises(MissingDependencyError, match="sudo apt install espeak-ng flite"):
        synthesise(tmp_path)
