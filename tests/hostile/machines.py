"""Devices and hosts as processes, and a model whose fine-tuning takes seconds."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time

import httpx2 as httpx
import pytest

from device_app.audio.samples import encode, read
from device_app.data.utterance import Utterance
from device_app.paths import RECORDINGS
from tests.device_app.test_imports import BLOCK, FORBIDDEN
from trainer.families import conformer_ctc
from trainer.training.from_scratch import new_bundle


class Machine:
    """A data folder, and the command line on it; with a namespace, in a network of its own."""

    def __init__(self, folder, *, torch=True, namespace=None):
        self.folder, self.environment = folder, {**os.environ, "ASR_EDGE_HOME": str(folder), "TERM": "dumb"}
        block = "" if torch else BLOCK.format(forbidden=FORBIDDEN)
        inside = ["ip", "netns", "exec", namespace] if namespace else []
        self._start = [
            *inside,
            sys.executable,
            "-c",
            block + "import sys; from device_app.cli import main; sys.exit(main())",
        ]

    def start(self, *arguments, **options):
        command = [*self._start, *map(str, arguments)]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
        )

    def call(self, *arguments, code=0, stdin=""):
        command = [*self._start, *map(str, arguments)]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=1800, check=False, input=stdin
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def wait_for(url, seconds=60.0, **how):
    end = time.monotonic() + seconds
    while True:
        try:
            if httpx.get(f"{url}/v1/health", trust_env=False, **how).status_code == 200:
                return
        except httpx.TransportError:
            assert time.monotonic() < end, "the host did not start"
        time.sleep(0.1)


@pytest.fixture
def host(tmp_path):
    return Machine(tmp_path / "host")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A model whose fine-tuning takes seconds, installed on host and device."""
    from tests.conftest import TINY_TEXTS
    from tests.trainer.conftest import TINY

    monkeypatch.setitem(conformer_ctc.CONFIGS, "tiny", TINY)
    folder = tmp_path / "host" / "models" / "tiny"
    folder.parent.mkdir(parents=True)
    found = new_bundle(TINY_TEXTS, "tiny", folder)
    shutil.copytree(folder, tmp_path / "device" / "models" / "tiny")
    return found


@pytest.fixture
def two_seconds(tmp_path):
    """A training recording."""
    path = tmp_path / "one.flac"
    path.write_bytes(encode(read(RECORDINGS / "ss-noservice.flac")[: 2 * 16_000]))
    return Utterance(audio=path, text="zero one")


ATTEND = """
import sys
from device_app.remote.client import HostClient
from device_app.remote.trusted_hosts import find_host
from device_app.remote.jobs import find_job
from device_app.remote.training import fetch, send
job = find_job(sys.argv[1])
with HostClient(find_host(job.url)) as client:
    result = fetch(send(job, client, lambda _: None), client, lambda _: None)
print("norm", result.vector.norm)
"""


def attend(job, device_home, namespace=None):
    """Starts a device that sends a job and waits for its vector; with a namespace, in a network of its own."""
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "ASR_EDGE_HOME": str(device_home)}
    return subprocess.Popen([*inside, sys.executable, "-c", ATTEND, job.key], env=environment, **pipes)


def norm_received(device, seconds=600):
    """The norm of the vector that a device received; its process must end without an error."""
    out, err = device.communicate(timeout=seconds)
    assert device.returncode == 0, err
    return float(re.fullmatch(r"norm (.*)\n", out)[1])
