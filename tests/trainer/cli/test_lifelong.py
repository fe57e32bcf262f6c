"""`asr-edge lifelong`: each command on a tiny model, and the files that it writes."""

import functools
import json
import sys
import textwrap

import pytest

from device_app.data.manifest import read_manifest
from editing.errors import MissingDependencyError
from tests.conftest import write_audio
from tests.trainer.cli.conftest import outline
from trainer import executors
from trainer.lifelong import fine_tuner, plots
from trainer.lifelong import sweep as sweeping
from trainer.lifelong.corpora.synthetic import ACCENTS

LINES = (("zero one", "train"), ("two three", "train"), ("a fox", "test"))


@pytest.fixture
def config(manifest, tiny_bundle, tmp_path):
    """An experiment of two domains and one method."""
    names = {name: manifest(name, *LINES, seconds=1.0) for name in ("first", "second")}
    path = tmp_path / "trial.toml"
    path.write_text(
        f'base = "{tiny_bundle.folder}"\nbase_domain = "first"\norder = ["second"]\n'
        'methods = ["fine-tuning", "ties"]\n[fine_tuning]\nepochs = 1\nlearning_rate = 1e-3\n[manifests]\n'
        + "".join(f'{name} = "{path}"\n' for name, path in names.items())
    )
    return path


@pytest.fixture
def one_method(config):
    """The same experiment with one method."""
    config.write_text(config.read_text().replace('["fine-tuning", "ties"]', '["fine-tuning"]'))
    return config


METHOD = {
    "average_wer": "float",
    "average_wer_sd": "float",
    "average_all": "float",
    "bwt": "float",
    "fwt": None,
    "by_step": ["float", "float"],
    "seconds_per_domain": "float",
    "stored_mb_per_domain": "float",
    "peak_gb": "float",
    "runs": [{"seed": 0, "average_wer": "float", "wer": [["float", "float"], ["float", "float"]]}],
}
RESULTS = {
    "seen": ["first", "second"],
    "never_trained": [],
    "seeds": [0],
    "base": {"first": "float", "second": "float"},
    "methods": {"fine-tuning": METHOD, "ties": {**METHOD, "werr": "float", "p": "float", "werr_all": "float"}},
}


def test_run_prints_the_table_and_writes_results_and_plots(asr, config, tmp_path):
    done = asr("lifelong", "run", config)
    assert done.code == 0
    assert done.err.splitlines()[1:] == [
        "fine-tuning, seed 0 (1 of 2)",
        "ties, seed 0 (2 of 2)",
        f"Full results: {tmp_path}/trial/summary.md",
    ]
    head, *rows = done.out.splitlines()
    assert head.split()[:3] == ["method", "average", "WER"]
    assert {row.split()[0] for row in rows} == {"fine-tuning", "ties"}
    written = {path.name for path in (tmp_path / "trial").iterdir() if path.is_file()}
    assert written >= {"summary.md", "results.json", "results.csv", "average-wer.png", "cost.png", "matrix-ties.png"}


def test_run_as_json_prints_the_document_that_it_writes(asr, config, tmp_path):
    done = asr("lifelong", "run", config, "--out", tmp_path / "elsewhere", "--json")
    assert outline(json.loads(done.out)) == RESULTS
    assert json.loads(done.out) == json.loads((tmp_path / "elsewhere" / "results.json").read_text())
    assert not (tmp_path / "trial").exists()


@pytest.mark.slow  # tests/trainer/lifelong/test_runner.py interrupts a run in the default run
def test_an_interrupted_run_resumes_and_repeats_no_finished_step(asr, config, tmp_path, monkeypatch):
    calls = []
    finetune = fine_tuner.finetune

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return finetune(*arguments, **options)

    monkeypatch.setattr(fine_tuner, "finetune", interrupted)
    assert asr("lifelong", "run", config).code == 130
    assert not (tmp_path / "trial" / "results.json").exists()
    assert asr("lifelong", "run", config).code == 0
    assert len(calls) == 3  # the first method was finished
    assert asr("lifelong", "run", config).code == 0
    assert len(calls) == 3


def test_run_without_matplotlib_only_omits_the_plots(asr, one_method, tmp_path, monkeypatch):
    def missing(*_arguments):
        raise MissingDependencyError("plots need matplotlib")

    monkeypatch.setattr(plots, "draw_run", missing)
    done = asr("lifelong", "run", one_method)
    assert done.code == 0
    assert "plots need matplotlib\n" in done.err
    assert (tmp_path / "trial" / "summary.md").is_file()


def test_run_with_ray_uses_the_cluster(asr, one_method, monkeypatch):
    addresses = []

    class Cluster(executors.LocalExecutor):
        def __init__(self, address):
            addresses.append(address)

    monkeypatch.setattr(executors, "RayExecutor", Cluster)
    monkeypatch.setattr(plots, "draw_run", lambda *_arguments: [])
    assert asr("lifelong", "run", one_method, "--engine", "ray", "--address", "10.0.0.1:6379").code == 0
    assert addresses == ["10.0.0.1:6379"]


@pytest.fixture
def few_cells(monkeypatch):
    """A grid of four pairs instead of 81."""
    monkeypatch.setattr(sweeping, "LAMBDAS", (0.3, 0.9))
    monkeypatch.setattr(sweeping, "DENSITIES", (0.2, 1.0))
    small = functools.partial(sweeping.sweep, lambdas=(0.3, 0.9), densities=(0.2, 1.0))
    monkeypatch.setattr(sweeping, "sweep", small)


@pytest.mark.usefixtures("few_cells")
def test_sweep_scores_every_pair_and_prints_the_best(asr, config, tmp_path):
    done = asr("lifelong", "sweep", config, "--utterances", 1)
    assert done.code == 0
    head, row = done.out.splitlines()
    assert " ".join(head.split()) == "step domain lambda density average WER fine-tuning s merging s recognition s"
    assert row.split()[:2] == ["1", "second"]
    assert done.err.splitlines()[-1] == f"Full results: {tmp_path}/trial-sweep"
    assert list((tmp_path / "trial-sweep").glob("*.png"))
    again = asr("lifelong", "sweep", config, "--utterances", 1, "--json")
    assert again.err == ""  # nothing is fine-tuned again
    assert json.loads(again.out) == json.loads((tmp_path / "trial-sweep" / "sweep.json").read_text())
    cell = {"lam": "float", "density": "float", "wer": {"first": "float", "second": "float"}, "average_wer": "float"}
    step = {"number": 1, "domain": "second", "cells": [cell] * 4, "best": cell}
    times = dict.fromkeys(("tuning_s", "merging_s", "recognition_s"), "float")
    assert outline(json.loads(again.out)) == {
        "lambdas": ["float", "float"],
        "densities": ["float", "float"],
        "utterances": 1,
        "steps": [step | times],
    }


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_all_mistakes_in_a_configuration_are_reported_in_one_line(asr, config, tmp_path, command):
    config.write_text(config.read_text().replace('["second"]', '["third"]').replace("epochs", "epoch"))
    done = asr("lifelong", command, config)
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert line.startswith(f"asr-edge: {config}: [manifests] has no 'third'; [fine_tuning] has an unknown 'epoch'")
    missing = tmp_path / "no.toml"
    done = asr("lifelong", command, missing)
    assert done.code == 1
    assert done.err.startswith(f"asr-edge: {missing}: cannot be read (")
    assert {path.name for path in tmp_path.iterdir()} <= {"first", "second", "home", "trial.toml"}


def test_overhead_measures_the_given_model(asr, tiny_bundle, tmp_path):
    done = asr("lifelong", "overhead", "--model", tiny_bundle.folder, "--out", tmp_path / "cost", "--threads", 1)
    assert done.code == 0
    head, *rows = done.out.splitlines()
    assert head.split()[:3] == ["edits", "disk", "MB"]
    assert [row.split()[0] for row in rows] == ["1", "5", "10", "20"]
    assert all(row.endswith(" x") for row in rows)
    assert len(list((tmp_path / "cost").glob("*.safetensors"))) == 20


def test_overhead_as_json(asr, tmp_path, monkeypatch):
    measured = {"edits": 1, "disk_mb": 0.5}
    calls = []
    monkeypatch.setattr(
        "trainer.lifelong.overhead.overhead", lambda *given, **options: calls.append((given, options)) or [measured]
    )
    done = asr("lifelong", "overhead", "--out", tmp_path / "cost", "--json")
    assert json.loads(done.out) == [measured]
    assert calls == [((tmp_path / "cost",), {"model": None, "threads": None})]


def test_overhead_of_a_missing_model_is_an_error(asr, tmp_path):
    done = asr("lifelong", "overhead", "--model", "nobody", "--out", tmp_path / "cost")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("asr-edge: nobody: neither an installed model (")
    assert not (tmp_path / "cost").exists()


SYNTHESISER = """\
#!{python}
import io, sys, wave
file = io.BytesIO()
with wave.open(file, "wb") as out:
    out.setnchannels(1), out.setsampwidth(2), out.setframerate(8000)
    out.writeframes(b"\\1\\2" * 4000)
sys.stdout.buffer.write(file.getvalue())
"""


@pytest.fixture
def synthesisers(tmp_path, monkeypatch):
    """Scripts in place of espeak-ng and flite, which need not be installed (tests/trainer/lifelong runs those)."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("espeak-ng", "flite"):
        (folder / name).write_text(textwrap.dedent(SYNTHESISER).format(python=sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.usefixtures("synthesisers")
def test_synthesise_prints_the_manifest_of_each_accent(asr, tmp_path):
    out = tmp_path / "accents"
    done = asr("lifelong", "synthesise", out, "--base", 2, "--train", 1, "--test", 1)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [f"{out}/{accent.name}/manifest.jsonl" for accent in ACCENTS]
    base, *others = (read_manifest(out / accent.name / "manifest.jsonl") for accent in ACCENTS)
    assert [entry.split for entry in base] == ["train", "train", "test"]
    assert all([entry.split for entry in other] == ["train", "test"] for other in others)
    texts = [entry.text for entry in base]
    assert (
        asr("lifelong", "synthesise", tmp_path / "more", "--base", 2, "--train", 1, "--test", 1, "--seed", 1).code == 0
    )
    assert [entry.text for entry in read_manifest(tmp_path / "more" / "us" / "manifest.jsonl")] != texts


def test_synthesise_without_the_programs_says_how_to_install_them(asr, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = asr("lifelong", "synthesise", tmp_path / "accents")
    line = "asr-edge: espeak-ng and flite not found: sudo apt install espeak-ng flite\n"
    assert (done.code, done.out, done.err) == (1, "", line)


def test_corpus_writes_an_experiment(asr, tmp_path, noise):
    clips = tmp_path / "cv" / "clips"
    rows = ["client_id\tpath\tsentence\taccents"]
    for accent, count in (("Scottish English", 14), ("United States English", 12), ("England English", 11)):
        for number in range(count):
            write_audio(clips / f"{accent[:4]}-{number}.wav", noise(0.1))
            rows.append(f"{number % 5}-{accent[:4]}\t{accent[:4]}-{number}.wav\tSentence {number}\t{accent}")
    (tmp_path / "cv" / "validated.tsv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    options = ("--accent", "Scottish English", "--accent", "England English", "--train", 3, "--test", 1)
    done = asr("lifelong", "corpus", "common-voice", tmp_path / "cv", out, *options)
    assert (done.code, done.out) == (0, f"{out}/common-voice.toml\n")
    assert done.err == (
        "If the file has a line 'base', enter your base model there. "
        f"Then: asr-edge lifelong run {out}/common-voice.toml\n"
    )
    splits = [entry.split for entry in read_manifest(out / "england-english" / "manifest.jsonl")]
    assert (splits.count("train"), splits.count("test")) == (3, 1)
    assert 'base_domain = "scottish-english"' in (out / "common-voice.toml").read_text()


def test_another_corpus_than_named_is_an_error(asr, tmp_path):
    (tmp_path / "other").mkdir()
    done = asr("lifelong", "corpus", "ted-lium", tmp_path / "other", tmp_path / "out")
    line = f"asr-edge: {tmp_path}/other/data/stm: has no .stm files; expected an unpacked TED-LIUM 3\n"
    assert (done.code, done.out, done.err) == (1, "", line)
    assert asr("lifelong", "corpus", "gigaspeech", tmp_path / "other", tmp_path / "out").code == 2
    assert not (tmp_path / "out").exists()
