"""Everything a person can get wrong: one line, the right exit code, nothing half-written."""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from device_app.audio.samples import SAMPLE_RATE
from device_app.paths import RECORDINGS
from tests.conftest import edit_record, write_audio


def truncated_flac(path):
    whole = (RECORDINGS / "two_cities.flac").read_bytes()
    path.with_suffix(".flac").write_bytes(whole[: len(whole) // 2])
    return path.with_suffix(".flac")


def text_file(path):
    path.write_text("This is not audio.\n" * 100)
    return path


def empty(path):
    path.touch()
    return path


def nan(path):
    audio = np.zeros(SAMPLE_RATE, np.float32)
    audio[500:1500] = np.nan
    return write_audio(path, audio, subtype="FLOAT")


def seconds(length):
    return lambda path: write_audio(path, np.zeros(round(length * SAMPLE_RATE), np.float32))


def damaged_header(path):
    data = bytearray((RECORDINGS / "invalid.flac").read_bytes())
    data[8:40] = bytes(32)
    path.with_suffix(".flac").write_bytes(data)
    return path.with_suffix(".flac")


def folder_without_audio(path):
    path.mkdir()
    return path


BAD_AUDIO = {
    "missing": (lambda path: path, "No such file"),
    "empty": (empty, "the file is empty"),
    "text": (text_file, "not audio"),
    "header": (damaged_header, ""),
    "nan": (nan, "NaN"),
    "0 s": (seconds(0), "contains no audio"),
    "0.05 s": (seconds(0.05), "0.050 s is too short; at least 0.1 s are needed"),
    "folder": (folder_without_audio, "the folder contains no audio files"),
}


@pytest.mark.parametrize("kind", BAD_AUDIO)
def test_bad_audio_is_one_line_that_names_it(run, tmp_path, kind):
    make, message = BAD_AUDIO[kind]
    path = make(tmp_path / "bad.wav")
    done = run("transcribe", path, "--output", tmp_path / "out.txt")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"asr-edge: {path}: ")
    assert message in done.stderr
    assert not (tmp_path / "out.txt").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".tmp")]


def test_a_truncated_recording_gives_its_text_and_one_line(run, tmp_path):
    path = truncated_flac(tmp_path / "bad.wav")
    done = run("transcribe", path, "--output", tmp_path / "out.txt")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"asr-edge: {path}: damaged")
    assert "of times" in (tmp_path / "out.txt").read_text()


def test_a_batch_goes_on_past_bad_files(run, tmp_path):
    (tmp_path / "in").mkdir()
    for kind in ("text", "empty", "nan", "0.05 s"):
        BAD_AUDIO[kind][0](tmp_path / "in" / f"{kind}.wav")
    truncated_flac(tmp_path / "in" / "truncated.wav")
    shutil.copy(RECORDINGS / "invalid.flac", tmp_path / "in" / "good.flac")
    done = run("transcribe", tmp_path / "in", "-o", tmp_path / "out")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 6
    assert lines[-1] == "asr-edge: 5 of 6 recordings could not be transcribed whole"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["good.txt", "truncated.txt"]
    assert "valid extension" in (tmp_path / "out" / "good.txt").read_text()


@pytest.mark.parametrize(("sample_rate", "channels"), [(192_000, 1), (48_000, 8), (192_000, 8), (8_000, 2)])
def test_unusual_audio_is_heard(run, tmp_path, sample_rate, channels):
    audio, rate = soundfile.read(RECORDINGS / "ss-noservice.flac", dtype="float32")
    audio = np.repeat(audio, sample_rate // rate)
    path = write_audio(tmp_path / "odd.wav", np.repeat(audio[:, None], channels, axis=1), sample_rate)
    done = run("transcribe", path)
    assert done.returncode == 0, done.stderr
    assert "not in service" in done.stdout


@pytest.mark.parametrize("output", ["file/below.txt", "file/deep/below.txt", "/proc/none/out.txt", "folder"])
def test_an_output_that_cannot_be_written_is_told_before_the_work(run, tmp_path, output):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder" / "invalid.txt").mkdir(parents=True)
    done = run("transcribe", RECORDINGS / "invalid.flac", "--output", tmp_path / output)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot be written" in done.stderr
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_full_disk_leaves_no_part_of_a_bake(bundle, tmp_path, precision):
    """A limit on the size of files stands in for the disk: writing fails in the middle."""
    home = tmp_path / "home"
    done = _limited(home, 5_000_000, "transcribe", RECORDINGS / "invalid.flac", "--precision", precision)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert [p for p in home.rglob("*") if p.is_file()] == []


def test_a_data_folder_that_cannot_be_written_is_told_with_the_remedy(run, tmp_path):
    (tmp_path / "file").touch()
    done = run("transcribe", RECORDINGS / "invalid.flac", ASR_EDGE_HOME=str(tmp_path / "file" / "home"))
    assert done.returncode == 1
    assert "ASR_EDGE_HOME" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_full_disk_leaves_no_part_of_an_export(home, tmp_path):
    done = _limited(home, 5_000_000, "export", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_output_to_a_full_device_is_told(home):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "device_app", "transcribe", RECORDINGS / "invalid.flac"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[-1]
        == "asr-edge: standard output: No space left on device; free some space and try again"
    )


def _limited(home, most_bytes, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "device_app", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ASR_EDGE_HOME": str(home)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
    )


@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.json", "graphs/decoder.onnx"])
def test_a_bundle_with_a_flipped_byte(run, copied_bundle, name):
    path = copied_bundle.folder / name
    data = bytearray(path.read_bytes())
    data[-100] ^= 0x10
    path.write_bytes(data)
    done = run("transcribe", RECORDINGS / "invalid.flac", "--model", copied_bundle.folder)
    assert done.returncode == 1
    assert done.stderr.startswith(f"asr-edge: {path}: damaged")
    assert done.stderr.count("\n") == 1


def test_an_exported_bundle_with_a_flipped_byte(run, tmp_path):
    assert run("export", "--out", tmp_path / "out").returncode == 0
    path = tmp_path / "out" / "int8" / "encoder.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = run("transcribe", RECORDINGS / "invalid.flac", "--model", tmp_path / "out")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "damaged" in done.stderr


@pytest.mark.parametrize("data", [b"garbage" * 100, b""])
@pytest.mark.parametrize("name", ["graphs/decoder.onnx", "tokenizer.json", "weights.safetensors"])
def test_a_bundle_with_garbage_and_its_hash(run, copied_bundle, tmp_path, name, data):
    (copied_bundle.folder / name).write_bytes(data)
    edit_record(copied_bundle, files={**copied_bundle.files, name: hashlib.sha256(data).hexdigest()})
    home = str(tmp_path / "home")
    done = run("transcribe", RECORDINGS / "invalid.flac", "--model", copied_bundle.folder, ASR_EDGE_HOME=home)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert [line[:10] for line in done.stderr.splitlines()][1:] == ["asr-edge: "]


def test_a_bundle_of_another_family(run, copied_bundle):
    edit_record(copied_bundle, family="sphinx")
    done = run("transcribe", RECORDINGS / "invalid.flac", "--model", copied_bundle.folder)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "family 'sphinx'; this asr-edge runs auto-ctc, conformer-ctc, moonshine" in done.stderr


def test_a_configuration_that_does_not_fit_its_graphs(run, copied_bundle):
    config = {**copied_bundle.config, "decoder_num_attention_heads": 4}
    edit_record(copied_bundle, config=config)
    done = run("transcribe", RECORDINGS / "invalid.flac", "--model", copied_bundle.folder)
    assert (done.returncode, done.stderr.count("Traceback")) == (1, 0)


@pytest.mark.parametrize("config", [{}, {"decoder_num_attention_heads": "8"}])
def test_a_configuration_that_is_no_configuration(run, copied_bundle, config):
    edit_record(copied_bundle, config=config)
    done = run("transcribe", RECORDINGS / "invalid.flac", "--model", copied_bundle.folder)
    assert done.returncode == 1
    assert "the configuration in model.json is damaged" in done.stderr.splitlines()[-1]


def test_a_model_that_is_not_there(run):
    done = run("transcribe", RECORDINGS / "invalid.flac", "--model", "nonsense")
    assert done.returncode == 1
    reason = "neither an installed model (embedded) nor a folder with a bundle"
    assert done.stderr == f"asr-edge: nonsense: {reason}; 'asr-edge model list' shows all\n"


def test_standard_input_that_is_empty_or_text(run):
    for data, message in ((b"", "no data was received"), (b"words" * 100, "not audio")):
        done = run("transcribe", "-", stdin=data)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert f"asr-edge: standard input: {message}" in done.stderr


def test_a_manifest_with_a_damaged_recording_gives_no_rates(run, tmp_path):
    text_file(tmp_path / "a.wav")
    (tmp_path / "m.jsonl").write_text(json.dumps({"audio": "a.wav", "text": "x"}) + "\n")
    done = run("evaluate", tmp_path / "m.jsonl", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert str(tmp_path / "a.wav") in done.stderr


def test_two_processes_may_bake_at_once(tmp_path):
    environment = {**os.environ, "ASR_EDGE_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "device_app", "transcribe", str(RECORDINGS / "invalid.flac")]
    pipes = {"env": environment, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as first, subprocess.Popen(command, **pipes) as second:
        assert "valid extension" in first.communicate()[0]
        assert "valid extension" in second.communicate()[0]


@pytest.mark.parametrize(
    "most_bytes", [pytest.param(1_000, marks=pytest.mark.slow), 30_000, pytest.param(60_000, marks=pytest.mark.slow)]
)
def test_a_full_disk_during_an_import_keeps_what_was_confirmed(tmp_path, most_bytes):
    home = tmp_path / "home"
    done = _limited(home, most_bytes, "import", RECORDINGS / "manifest.jsonl", "--domain", "prompts")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "cannot be" in done.stderr.splitlines()[-1]
    again = _limited(home, 10_000_000, "doctor", "--json")
    assert again.returncode == 0, again.stderr
    listed = _limited(home, 10_000_000, "dataset", "list", "--json")
    assert json.loads(listed.stdout) == []
    assert [p for p in (home / "audio").rglob("*") if p.is_file()] == []


def test_a_store_that_was_damaged_is_told(run, tmp_path):
    environment = {"ASR_EDGE_HOME": str(tmp_path / "home")}
    run("import", RECORDINGS / "manifest.jsonl", "--domain", "prompts", **environment)
    path = tmp_path / "home" / "store.sqlite3"
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x55" * (len(data) - 4096)
    path.write_bytes(data)
    done = run("dataset", "list", **environment)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(path) in done.stderr.splitlines()[-1]


def test_a_bundle_with_the_graphs_of_another_family(run, copied_bundle):
    edit_record(copied_bundle, family="conformer-ctc")
    done = run("transcribe", RECORDINGS / "invalid.flac", "--model", copied_bundle.folder)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "ctc" in done.stderr
    assert "Traceback" not in done.stderr
