"""transcribe on several recordings: jobs, what has a result already, and recordings that are cut off or unreadable."""

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from device_app.audio.samples import SAMPLE_RATE
from device_app.recognition.recordings.batch import transcribe_all
from device_app.recognition.transcriber import Transcriber
from tests.device_app.cli.conftest import call
from tests.device_app.cli.letters import spell, write_spelled

WORDS = {"one": "fio", "two": "mam", "three": "oif", "four": "fam", "five": "imo"}
TEXTS = {name: " ".join(word) for name, word in WORDS.items()}


def transcribe(*arguments, **more):
    return call("transcribe", *arguments, "--model", "tiny", **more)


@pytest.fixture
def folder(home_of_tiny):
    for name, word in WORDS.items():
        write_spelled(Path(f"in/{name}.wav"), word)
    return Path("in")


def cut_off(path, share=0.7):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


@pytest.mark.parametrize("jobs", [1, 2, 4, 9])
def test_results_come_in_order_with_any_number_of_jobs(folder, jobs):
    done = transcribe(folder, "--jobs", jobs)
    assert done.stdout.splitlines() == [f"in/{name}.wav: {TEXTS[name]}" for name in sorted(WORDS)]
    transcribe(folder, "--jobs", jobs, "-o", "out", "-f", "json")
    assert {path.stem: json.loads(path.read_text())["text"] for path in Path("out").iterdir()} == TEXTS


def test_by_default_all_cores_are_used(folder, monkeypatch):
    used = []

    def spy(transcriber, recordings, jobs, **more):
        used.append(jobs)
        return transcribe_all(transcriber, recordings, jobs, **more)

    monkeypatch.setattr("device_app.recognition.recordings.batch.transcribe_all", spy)
    monkeypatch.setattr("device_app.recognition.onnx_session.available_cores", lambda: 3)
    transcribe(folder)
    transcribe(folder, "--threads", 3)
    transcribe(folder / "one.wav")
    transcribe(folder, "--jobs", 2)
    assert used == [3, 1, 1, 2]


def test_a_failure_in_a_job_is_one_line_and_the_others_go_on(folder):
    for number in range(3):
        (folder / f"bad{number}.wav").write_text("no audio " * 50)
    done = transcribe(folder, "-o", "out", "--jobs", 2, code=1)
    lines = done.stderr.splitlines()
    assert [line.split(":")[1].strip() for line in lines[:3]] == [f"in/bad{number}.wav" for number in range(3)]
    assert lines[3:] == ["asr-edge: 3 of 8 recordings could not be transcribed whole"]
    assert sorted(path.stem for path in Path("out").iterdir()) == sorted(WORDS)


def test_a_mistake_in_a_job_is_not_swallowed_and_stops_the_others(folder, monkeypatch):
    monkeypatch.setattr(Transcriber, "transcribe_file", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        transcribe(folder, "--jobs", 2)
    assert threading.active_count() < 10


def test_a_caller_that_stops_early_stops_the_jobs(folder, bundle):
    from device_app.audio.sources import find_recordings
    from device_app.cli.options import load

    transcriber = load("tiny", 1)[1]
    outcomes = transcribe_all(transcriber, find_recordings([str(folder)]), 2)
    next(outcomes)
    outcomes.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_a_recording_that_is_cut_off_gives_its_text_and_exit_code_1(home_of_tiny):
    cut_off(write_spelled(Path("fio.wav"), "fio"))
    done = transcribe("fio.wav", code=1)
    assert done.stdout.startswith("f i")
    assert done.stderr.count("\n") == 1
    assert "asr-edge: fio.wav: damaged or cut off:" in done.stderr
    transcribe("fio.wav", "-o", "out.json", "-f", "json", code=1)
    assert json.loads(Path("out.json").read_text())["text"].startswith("f i")


def test_in_a_folder_a_cut_off_recording_has_a_result_and_a_line(folder):
    cut_off(folder / "one.wav")
    done = transcribe(folder, "-o", "out", code=1)
    assert done.stderr.splitlines()[0].startswith("asr-edge: in/one.wav: damaged or cut off:")
    assert len(done.stderr.splitlines()) == 2
    assert len(list(Path("out").iterdir())) == 5


# --skip-existing


def test_an_interrupted_folder_is_continued(folder):
    Path("out").mkdir()
    Path("out/one.txt").write_text("as it was\n")
    Path("out/two.txt").touch()  # nothing was written
    done = transcribe(folder, "-o", "out", "--skip-existing")
    assert done.stderr == "1 of 5 recordings: skipped, as there is a result already\n"
    found = {path.stem: path.read_text().strip() for path in Path("out").iterdir()}
    assert found == {**TEXTS, "one": "as it was"}
    again = transcribe(folder, "-o", "out", "--skip-existing")
    assert again.stderr == "5 of 5 recordings: skipped, as there is a result already\n"


def test_what_is_left_keeps_its_name_in_the_folder(folder):
    """Two recordings that differ in their suffix only keep it, also when one of them is done."""
    shutil.copy(folder / "one.wav", folder / "one.flac.wav")
    (folder / "one.flac.wav").rename(folder / "one.rf64")
    transcribe(folder, "-o", "out", "--skip-existing")
    Path("out/one.rf64.txt").unlink()
    transcribe(folder, "-o", "out", "--skip-existing")
    assert sorted(path.name for path in Path("out").glob("one*")) == ["one.rf64.txt", "one.wav.txt"]


def test_one_recording_may_be_left_out_too(folder):
    Path("x.txt").write_text("mine")
    assert "1 of 1" in transcribe(folder / "one.wav", "-o", "x.txt", "--skip-existing").stderr
    assert Path("x.txt").read_text() == "mine"


@pytest.mark.parametrize("options", [[], ["-o", "out", "--overwrite"], ["-o", "-"]])
def test_skip_existing_needs_an_output_that_is_not_overwritten(folder, options):
    assert "--skip-existing needs --output" in transcribe(folder, "--skip-existing", *options, code=1).stderr


def test_skip_existing_is_not_for_the_microphone(home_of_tiny):
    assert "--skip-existing is for recordings" in transcribe("--skip-existing", code=1).stderr


def test_jobs_and_save_exclude_each_other(folder):
    assert "--jobs cannot be combined with --save" in transcribe(folder, "--save", "--jobs", 2, code=1).stderr
    transcribe(folder, "--save", "--domain", "mine")


# What is in the folder


def test_other_files_of_a_folder_are_passed_over_and_links_to_folders_named(folder):
    (folder / "._one.wav").write_bytes(bytes(4096))
    (folder / "again").symlink_to(folder.resolve())
    done = transcribe(folder)
    assert len(done.stdout.splitlines()) == 5
    assert done.stderr == "in/again: skipped, because it is a link to a folder; name it too, to include it\n"


def test_media_that_cannot_be_read_are_named(folder, monkeypatch):
    monkeypatch.setattr("device_app.audio.media._has_pyav", lambda: False)
    monkeypatch.setattr("device_app.audio.media._ffmpeg", lambda: None)
    (folder / "talk.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    (folder / "film.webm").write_bytes(b"\x1a\x45\xdf\xa3" + bytes(100))
    done = transcribe(folder, code=1)
    assert len(done.stdout.splitlines()) == 5
    lines = done.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines[:2]] == ["in/film.webm", "in/talk.m4a"]
    assert all("'.[media]'" in line and "ffmpeg" in line for line in lines[:2])


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_run_continues_without_a_repeated_or_missing_segment(home_of_tiny, monkeypatch, jobs):
    for name in ("long", "other"):
        write_talk(Path(f"in/{name}.wav"), 6, seed=len(name))
    transcribe("in", "-f", "jsonl", "-o", "whole")
    whole = {path.name: path.read_text() for path in Path("whole").iterdir()}
    assert all(text.count("\n") == 6 for text in whole.values())
    monkeypatch.setattr("device_app.recognition.recordings.unfinished.MIN_SPEECH_S", 0.0)
    with monkeypatch.context() as patch:
        # At the eighth, the recording that is interrupted has a finished segment, whichever of the two it is.
        before = count_recognitions(patch, stop_at=8)
        stopped = transcribe("in", "-f", "jsonl", "-o", "out", "--jobs", jobs, code=130)
    assert "The same command with --skip-existing continues from out/" in stopped.stderr
    with monkeypatch.context() as patch:
        recognised = count_recognitions(patch)
        again = transcribe("in", "-f", "jsonl", "-o", "out", "--jobs", jobs, "--skip-existing")
    assert "Continues an interrupted run, from out/" in again.stderr
    assert len(before) + len(recognised) == 12 + 1  # the segment at which it was interrupted
    assert {path.name: path.read_text() for path in Path("out").iterdir()} == whole


def write_talk(path, count, seed):
    """Writes words with three seconds of silence between them, so that each is a segment."""
    random = np.random.default_rng(seed)
    silence = np.zeros(3 * SAMPLE_RATE, np.float32)
    words = random.permutation([*WORDS.values(), "rom"])[:count]
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, np.concatenate([part for word in words for part in (spell(word)[0], silence)]), SAMPLE_RATE)


def count_recognitions(patch, stop_at=None):
    """Counts the calls of the recogniser in the returned list; raises KeyboardInterrupt in one of them."""
    from device_app.recognition.families import conformer_ctc

    calls = []
    load = conformer_ctc.load

    def loaded(*arguments, **more):
        recogniser = load(*arguments, **more)
        recognise = recogniser.recognise

        def counted(audio, **options):
            calls.append(len(audio))
            if len(calls) == stop_at:
                raise KeyboardInterrupt
            return recognise(audio, **options)

        patch.setattr(type(recogniser), "recognise", lambda _self, audio, **options: counted(audio, **options))
        return recogniser

    patch.setattr(conformer_ctc, "load", loaded)
    return calls
