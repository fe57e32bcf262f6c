"""The device needs no torch, and a light start: seen in processes of their own."""

import subprocess
import sys

import pytest

FORBIDDEN = ("torch", "torchaudio", "transformers", "scipy")

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden}:
            raise ImportError(f"{{name}} is not for the device")
sys.meta_path.insert(0, Blocked())
"""


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def test_every_device_module_works_where_torch_cannot_be_imported():
    code = BLOCK.format(forbidden=FORBIDDEN) + (
        "import importlib, pkgutil, device_app, editing, export\n"
        "for package in (device_app, editing, export):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not module.name.startswith('export.graphs.') and module.name != 'device_app.__main__':\n"
        "            importlib.import_module(module.name)\n"
        "from device_app.audio.samples import read; from device_app.paths import RECORDINGS\n"
        "from device_app import Transcriber, embedded_bundle\n"
        "print(Transcriber(embedded_bundle()).transcribe_file(RECORDINGS / 'invalid.flac').text)"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert "valid extension" in done.stdout


@pytest.mark.parametrize("module", ["device_app", "device_app.cli", "device_app.recognition.transcriber"])
def test_importing_the_device_imports_nothing_heavy(module):
    heavy = (*FORBIDDEN, "onnx", "jiwer", "soundfile", "sounddevice", "huggingface_hub", "whisper_normalizer")
    done = python(f"import {module}, sys; print(*(set({heavy}) & set(sys.modules)))")
    assert done.stdout.strip() == "", done.stderr


def test_help_loads_not_even_numpy():
    done = python("import device_app.cli, sys; print('numpy' in sys.modules, 'onnxruntime' in sys.modules)")
    assert done.stdout.split() == ["False", "False"]


def test_live_transcription_loads_only_what_it_needs():
    code = (
        "import numpy, sys; from device_app import Transcriber, embedded_bundle\n"
        "stream = Transcriber(embedded_bundle()).stream()\n"
        "stream.feed(numpy.zeros(16000, numpy.float32)); stream.finish()\n"
        "print(*({'onnx', 'jiwer', 'soundfile', 'soxr', 'sounddevice'} & set(sys.modules)))"
    )
    python(code)  # bakes, which needs onnx once
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
