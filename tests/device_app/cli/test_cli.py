"""Every command has help and a place in the docs."""

import json
import re

import pytest
import typer.main

from device_app.cli import MORE, PANELS, application
from device_app.paths import RECORDINGS
from tests.conftest import REPOSITORY


def commands(command=None, path=()):
    command = command or typer.main.get_command(application())
    for name, child in getattr(command, "commands", {}).items():
        yield (*path, name), child
        yield from commands(child, (*path, name))


DOCUMENTS = "\n".join(p.read_text("utf-8") for p in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")])


@pytest.mark.parametrize(("path", "command"), [pytest.param(*c, id=" ".join(c[0])) for c in commands()])
def test_every_command_and_option_has_help_and_a_place_in_the_docs(path, command):
    assert command.help
    for parameter in command.params:
        assert parameter.name in ("help",) or getattr(parameter, "help", None), parameter.name
    assert f"asr-edge {' '.join(path)}" in DOCUMENTS


def test_version_and_help(run_process):
    assert re.fullmatch(r"asr-edge \d+\.\d+\.\d+\n", run_process("--version").stdout)
    done = run_process("--help")
    assert done.returncode == 0
    for panel in [*PANELS, MORE]:
        assert f" {panel} " in done.stdout
    assert len(done.stdout.splitlines()) <= 70


@pytest.mark.slow  # the default run tests the same with the tiny model
def test_evaluate_reports_both_normalisers(run):
    done = run("evaluate", RECORDINGS / "manifest.jsonl", "--json", "--worst", 1)
    report = json.loads(done.stdout)
    assert report["english"]["wer"] < 0.03
    assert report["basic"]["cer"] < 0.05
    assert report["utterances"] == 5
    (manifest,) = report["manifests"]
    assert manifest["speakers"]["allison"]["utterances"] == 4
    assert report["worst"][0]["id"] == "agent-alreadyon.flac"
    table = run("evaluate", RECORDINGS / "manifest.jsonl").stdout
    assert "english WER" in table
    assert "librivox" in table


@pytest.mark.slow  # the default run tests the same with the tiny model
def test_export_gives_a_bundle_that_transcribes(run, tmp_path):
    done = run("export", "--out", "out", "--precision", "int8")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "LICENSE",
        "int8",
        "model.json",
        "tokenizer.json",
    ]
    done = run("transcribe", RECORDINGS / "invalid.flac", "--model", "out")
    assert "valid extension" in done.stdout
    again = run("export", "--out", "out")
    assert again.returncode == 1
    assert "already in use" in again.stderr


def test_export_of_a_version_that_does_not_exist(run, tmp_path):
    done = run("export", "--out", "out", "--version", 3)
    assert done.returncode == 1
    assert "there is no version 3" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow  # the default run tests the same with the tiny model
def test_bench_reports_every_figure(run):
    report = json.loads(run("bench", RECORDINGS / "two_cities.flac", "--repeats", 1, "--json").stdout)
    assert {
        "load_s",
        "first_text_s",
        "rtf",
        "clips_ms",
        "end_of_speech_ms",
        "peak_memory_mb",
    } <= report.keys()
    assert report["clips_ms"].keys() == {"1", "3", "5", "10"}
    short = run("bench", RECORDINGS / "invalid.flac")
    assert short.returncode == 1
    assert "less than 10 s" in short.stderr
