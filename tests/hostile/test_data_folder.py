"""JSON in the data folder, or of a user's, nested or long beyond Python's limits: one line, nothing changed."""

import os
import subprocess
import sys

import pytest

from device_app.data.manifest import read_manifest
from device_app.models.moonshine_checkpoint import read_checkpoint
from device_app.remote import jobs as remote
from device_app.remote import trusted_hosts as hosts
from editing.errors import AsrEdgeError
from export.bundle import Bundle

TEXTS = {"deep": "[" * 100_000, "deep objects": '{"a":' * 100_000, "long": '{"format_version": ' + "9" * 5000 + "}"}


@pytest.fixture(params=TEXTS)
def text(request):
    return TEXTS[request.param]


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_hosts(own, text):
    (own / "hosts.json").write_text(text)
    with pytest.raises(AsrEdgeError, match=r"hosts\.json: is damaged"):
        hosts.hosts()


def test_jobs(own, text):
    (own / "jobs" / "ab").mkdir(parents=True)
    (own / "jobs" / "ab" / "job.json").write_text(text)
    with pytest.raises(AsrEdgeError, match=r"job\.json: is damaged"):
        remote.jobs()


def test_a_job_that_names_another_folder(own):
    """`forget` removes the folder that the record names."""
    (own / "jobs" / "ab").mkdir(parents=True)
    (own / "jobs" / "ab" / "job.json").write_text('{"key": "../.."}')
    with pytest.raises(AsrEdgeError, match="its key is not the name of its folder"):
        remote.jobs()


def test_a_bundle(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(AsrEdgeError, match=r"model\.json: "):
        Bundle.open(tmp_path)


def test_a_checkpoint_of_the_hub(tmp_path, text):
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text(text)
    with pytest.raises(AsrEdgeError, match=r"config\.json: "):
        read_checkpoint(tmp_path)


def test_a_manifest(tmp_path, text):
    (tmp_path / "m.jsonl").write_text(text + "\n")
    with pytest.raises(AsrEdgeError, match=r"m\.jsonl, line 1: not JSON"):
        list(read_manifest(tmp_path / "m.jsonl"))


def test_the_command_line_shows_one_line(own, text):
    (own / "hosts.json").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "device_app", "fleet", "pull", "--group", "crew", "--on", "https://box:1"],
        capture_output=True,
        text=True,
        env={**os.environ, "ASR_EDGE_HOME": str(own)},
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
