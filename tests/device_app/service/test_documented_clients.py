"""The clients in docs/clients run as they are, and are as short as promised."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from device_app.audio.samples import read
from tests.conftest import REPOSITORY
from tests.device_app.service.conftest import SPEECH

CLIENTS = REPOSITORY / "docs" / "clients"
CALL = """
const wave = require("fs").readFileSync(process.argv[1]).subarray(44);
const pcm = new Int16Array(wave.buffer.slice(wave.byteOffset, wave.byteOffset + wave.length));
live(pcm, 16000, (text, isFinal) => console.log(isFinal ? text : `... ${text}`), process.argv[2])
  .then(text => console.log(`whole: ${text}`), error => { console.error(error.message); process.exit(1); });
"""


@pytest.fixture
def wave(tmp_path):
    path = tmp_path / "speech.wav"
    soundfile.write(path, read(SPEECH), 16_000, subtype="PCM_16")
    return path


@pytest.fixture
def live(url):
    return f"{url.replace('http', 'ws')}/v1/audio/live"


def run(command):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("name", ["live.py", "live.js"])
def test_a_client_has_30_lines_at_most(name):
    assert len((CLIENTS / name).read_text().splitlines()) <= 30


def test_the_python_client_prints_the_text(wave, live):
    done = run([sys.executable, CLIENTS / "live.py", wave, live])
    assert done.returncode == 0, done.stderr
    finals = [line for line in done.stdout.splitlines() if not line.startswith("...")]
    assert " ".join(finals).startswith("The number you have dialed is not in service")
    assert len(done.stdout.splitlines()) > len(finals)


@pytest.mark.parametrize(("subtype", "channels"), [("PCM_U8", 1), ("PCM_24", 1), ("PCM_16", 2)])
def test_the_python_client_refuses_a_file_that_is_not_16_bit_mono(tmp_path, subtype, channels):
    path = tmp_path / "other.wav"
    soundfile.write(path, np.zeros((1600, channels)), 16_000, subtype=subtype)
    done = run([sys.executable, CLIENTS / "live.py", path, "ws://127.0.0.1:9"])
    assert done.returncode == 1
    assert done.stderr == f"{path}: must have 16 bits a sample and one channel\n"


def test_the_javascript_client_returns_the_text(wave, live, tmp_path):
    if shutil.which("node") is None:
        pytest.skip("needs node")
    script = (CLIENTS / "live.js").read_text() + CALL
    done = run(["node", "--experimental-websocket", "-e", script, wave, live])
    assert done.returncode == 0, done.stderr
    assert "whole: The number you have dialed is not in service" in done.stdout
    assert "\n... " in f"\n{done.stdout}"


def test_the_clients_report_a_refusal(wave, live):
    done = run([sys.executable, CLIENTS / "live.py", wave, f"{live}?model=asr-edge:nobody&x="])
    assert done.returncode == 1
    assert "there is no model" in done.stderr
