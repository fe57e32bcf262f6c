"""The device on 64-bit ARM, emulated: `benchmarks/aarch64.py` measures the same on more recordings."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from device_app.audio.samples import SAMPLE_RATE
from device_app.evaluation.error_rates import english
from device_app.paths import RECORDINGS

REPOSITORY = Path(__file__).resolve().parents[2]


def reason_to_skip() -> str:
    """Why nothing can be emulated here; empty if it can."""
    if missing := [tool for tool in ("qemu-aarch64-static", "debootstrap", "dpkg") if shutil.which(tool) is None]:
        return f"{', '.join(missing)} not installed (Debian: qemu-user-static debootstrap)"
    return "" if os.geteuid() == 0 else "debootstrap must run as root"


@pytest.mark.slow
def test_an_emulated_arm_machine_bakes_and_transcribes_as_this_one_does(tmp_path):
    if reason := reason_to_skip():
        pytest.skip(reason)
    setup = subprocess.run(
        [sys.executable, str(REPOSITORY / "scripts" / "aarch64.py"), str(tmp_path / "arm")],
        check=True,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert "aarch64" in setup.stdout.split()
    silence = tmp_path / "silence.flac"
    noise = np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE) * 0.003
    soundfile.write(silence, noise, SAMPLE_RATE)
    inputs = [silence, RECORDINGS / "ss-noservice.flac"]

    native = transcripts(Path(sys.executable), inputs, tmp_path / "native")
    emulated = transcripts(tmp_path / "arm" / "python", inputs, tmp_path / "emulated")

    assert native == emulated
    assert emulated["silence"] == ""
    assert int8_files(tmp_path / "native") == int8_files(tmp_path / "emulated")


def transcripts(python: Path, inputs: list[Path], folder: Path) -> dict[str, str]:
    """Normalised, by the names of recordings; the embedded model is baked in `folder`."""
    texts = folder / "texts"
    texts.mkdir(parents=True)
    command = [python, "-m", "device_app", "transcribe", "--threads", "1", "-o", texts, *inputs]
    environment = {**os.environ, "ASR_EDGE_HOME": str(folder / "home")}
    subprocess.run([*map(str, command)], env=environment, check=True, timeout=1800)
    return {file.stem: english(file.read_text("utf-8")) for file in texts.iterdir()}


def int8_files(folder: Path) -> dict[str, bytes]:
    files = {file.name: file.read_bytes() for file in (folder / "home").rglob("*.onnx")}
    assert files
    return files
