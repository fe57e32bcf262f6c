import json
import shutil
from itertools import pairwise

import pytest
import soundfile

from device_app.paths import RECORDINGS

SERVICE = RECORDINGS / "ss-noservice.flac"
INVALID = RECORDINGS / "invalid.flac"


def test_one_recording_gives_its_text(run_process):
    done = run_process("transcribe", INVALID)
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert "is not a valid extension. Please try again." in done.stdout
    assert done.stderr == ""


def test_several_recordings_give_lines_with_their_names(run):
    done = run("transcribe", INVALID, SERVICE)
    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == [str(INVALID), str(SERVICE)]


def test_standard_input(run_process):
    done = run_process("transcribe", "-", "--format", "json", stdin=INVALID.read_bytes())
    assert json.loads(done.stdout)["file"] == "standard input"
    assert "valid extension" in json.loads(done.stdout)["text"]


def test_json_of_several_is_one_document(run):
    done = run("transcribe", INVALID, SERVICE, "-f", "json")
    first, second = json.loads(done.stdout)
    assert first["file"] == str(INVALID)
    assert second["utterances"][0]["words"][0]["text"] == "The"


def test_a_folder_into_a_folder(run, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    shutil.copy(INVALID, tmp_path / "in" / "one.flac")
    shutil.copy(SERVICE, tmp_path / "in" / "deep" / "two.flac")
    done = run("transcribe", "in", "-o", "out", "-f", "srt")
    assert (done.returncode, done.stdout) == (0, "")
    assert "-->" in (tmp_path / "out" / "one.srt").read_text()
    assert "in service" in (tmp_path / "out" / "deep" / "two.srt").read_text()


@pytest.mark.parametrize("form", ["srt", "vtt", "tsv"])
def test_subtitles_of_several_recordings_need_a_folder(run, form):
    done = run("transcribe", INVALID, SERVICE, "-f", form)
    assert done.returncode == 1
    assert "needs --output FOLDER" in done.stderr


def test_a_long_recording_is_cut_at_pauses(run, tmp_path):
    audio, sample_rate = soundfile.read(RECORDINGS / "two_cities.flac", dtype="float32")
    soundfile.write(tmp_path / "long.wav", audio, sample_rate)
    done = run("transcribe", "long.wav", "-f", "jsonl")
    utterances = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(utterances) >= 3
    assert all(u["end_s"] - u["start_s"] <= 20.1 for u in utterances)
    assert all(one["end_s"] <= two["start_s"] + 0.7 for one, two in pairwise(utterances))
    text = " ".join(u["text"] for u in utterances)
    assert text.count("It was") + text.count("it was") == 10
    assert text.endswith("superlative degree of comparison only.")


def test_a_wrong_option_is_exit_code_2(run):
    assert run("transcribe", INVALID, "--format", "doc").returncode == 2
    assert run("transcribe", INVALID, "--threads", "0").returncode == 2


def test_the_microphone_takes_no_format_of_files(run):
    done = run("transcribe", "-f", "srt")
    assert done.returncode == 1
    assert "srt is for" in done.stderr


@pytest.mark.parametrize("output", ["x.flac", "./x.flac", "sub/../x.flac", "hard.txt", "soft.txt", "other.wav"])
def test_a_recording_is_never_replaced_by_its_text(run, tmp_path, output):
    """What once happened: `transcribe x.flac -o x.flac`."""
    recording = shutil.copy(INVALID, tmp_path / "x.flac")
    shutil.copy(SERVICE, tmp_path / "other.wav")
    (tmp_path / "sub").mkdir()
    (tmp_path / "hard.txt").hardlink_to(recording)
    (tmp_path / "soft.txt").symlink_to(recording)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    done = run("transcribe", "x.flac", "-o", output)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "nothing was changed" in done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_the_labels_of_a_folder_are_never_replaced(run, tmp_path):
    shutil.copy(INVALID, tmp_path / "a.flac")
    (tmp_path / "a.txt").write_text("what was really said")
    done = run("transcribe", ".", "-o", ".")
    assert done.returncode == 1
    assert "already exists; nothing was changed" in done.stderr
    assert (tmp_path / "a.txt").read_text() == "what was really said"


def test_what_is_saved_already_is_not_saved_again(run, tmp_path):
    home = {"ASR_EDGE_HOME": str(tmp_path / "home")}
    assert "Stored as 1." in run("transcribe", INVALID, "--save", **home).stderr
    again = run("transcribe", INVALID, "--save", **home)
    assert "Not stored again, because the same audio is in the store: 1\n" in again.stderr
    (counts,) = json.loads(run("dataset", "list", "--json", **home).stdout)
    assert counts["utterances"] == 1
