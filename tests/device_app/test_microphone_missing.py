"""Without PortAudio or without a microphone: everything else works, and an error names the remedy."""

import subprocess
import sys

import pytest

from device_app.paths import RECORDINGS

# What sounddevice raises where the library is not installed.
WITHOUT_PORTAUDIO = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
sys.meta_path.insert(0, Absent())
sys.argv = ["asr-edge", *{arguments}]
from device_app.cli import main
main()
"""


def without_portaudio(*arguments):
    code = WITHOUT_PORTAUDIO.format(arguments=[str(a) for a in arguments])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("arguments", [(), ("--list-devices",)])
def test_without_portaudio_the_remedy_is_told(transcriber, arguments):
    done = without_portaudio("transcribe", *arguments)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "sudo apt install libportaudio2" in done.stderr


def test_without_portaudio_files_are_transcribed(transcriber):
    done = without_portaudio("transcribe", RECORDINGS / "invalid.flac")
    assert "valid extension" in done.stdout


def test_without_a_microphone(transcriber, run):
    try:
        import sounddevice
    except OSError:
        pytest.skip("PortAudio is not installed (Debian: libportaudio2)")
    if any(device["max_input_channels"] for device in sounddevice.query_devices()):
        pytest.skip("this machine has a microphone")
    done = run("transcribe")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("asr-edge: no microphone was found")
