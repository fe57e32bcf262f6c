"""transcribe, evaluate and bench on a model that knows six letters, in the tests' own process."""

import gzip
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from device_app.audio.samples import SAMPLE_RATE
from device_app.data.store import Store
from tests.command_line import ENVIRONMENT
from tests.device_app.audio.media_files import make
from tests.device_app.cli.conftest import call
from tests.device_app.cli.desk import CtrlC, blocks
from tests.device_app.cli.letters import KNOWN, spell, write_spelled

ARPA = """\\data\\
ngram 1={count}

\\1-grams:
-99\t<s>
-1\t</s>
-99\t<unk>
{words}
\\end\\
"""


@pytest.fixture
def recording(home_of_tiny):
    """One file, "fio.wav", in the folder in which the command works: f i o."""
    return write_spelled(Path("fio.wav"), "fio")


def transcribe(*arguments, **more):
    return call("transcribe", *arguments, "--model", "tiny", **more)


def test_one_recording_gives_its_letters(recording):
    done = transcribe(recording)
    assert (done.stdout, done.stderr) == ("f i o\n", "")


def test_fp32_is_baked_once_and_gives_the_same(recording):
    done = transcribe(recording, "--precision", "fp32")
    assert done.stdout == "f i o\n"
    assert "(fp32) for this machine, once ..." in done.stderr
    assert transcribe(recording, "--precision", "fp32").stderr == ""


def test_several_recordings_have_their_names_before_the_text(recording):
    other = write_spelled(Path("ma.wav"), "mam")
    done = transcribe(recording, other)
    assert done.stdout.splitlines() == ["fio.wav: f i o", "ma.wav: m a m"]


def test_standard_input(recording):
    done = transcribe("-", "--format", "json", stdin=recording.read_bytes())
    record = json.loads(done.stdout)
    assert (record["file"], record["text"]) == ("standard input", "f i o")


@pytest.mark.parametrize("form", ["txt", "json", "jsonl", "srt", "vtt", "tsv"])
def test_every_format_to_standard_output_and_to_a_file(recording, form):
    printed = transcribe(recording, "--format", form).stdout
    done = transcribe(recording, "--format", form, "--output", f"out.{form}")
    assert done.stdout == ""
    written = Path(f"out.{form}").read_text()
    assert written == printed
    signs = {"txt": "f i o\n", "json": '"words"', "jsonl": '{"', "srt": "1\n00:00:0", "vtt": "WEBVTT", "tsv": "\tf i o"}
    assert signs[form] in printed


def test_a_folder_into_a_folder(recording):
    write_spelled(Path("in/one.wav"), "fio")
    write_spelled(Path("in/deep/two.wav"), "mam")
    done = transcribe("in", "-o", "out", "-f", "srt")
    assert done.stdout == ""
    assert "f i o" in Path("out/one.srt").read_text()
    assert "m a m" in Path("out/deep/two.srt").read_text()


def test_json_of_several_is_one_list(recording):
    other = write_spelled(Path("mam.wav"), "mam")
    first, second = json.loads(transcribe(recording, other, "-f", "json").stdout)
    assert (first["text"], second["text"]) == ("f i o", "m a m")


def test_one_of_several_cannot_be_read_and_the_others_are_written(recording):
    Path("bad.wav").write_bytes(b"RIFF")
    done = transcribe("bad.wav", recording, code=1)
    assert done.stdout == "fio.wav: f i o\n"
    assert "asr-edge: bad.wav: " in done.stderr
    assert done.stderr.endswith("asr-edge: 1 of 2 recordings could not be transcribed whole\n")
    done = transcribe("bad.wav", code=1)
    assert done.stderr.count("\n") == 1


def test_a_recording_without_speech_says_so(recording):
    import soundfile

    soundfile.write("silent.wav", np.zeros(16_000, np.float32), 16_000)
    done = transcribe("silent.wav")
    assert (done.stdout, done.stderr) == ("", "silent.wav: no speech was found\n")


def test_a_file_with_several_audio_tracks_says_which_was_read(recording):
    pytest.importorskip("av", reason="PyAV is not installed")
    silence = np.zeros(16_000, np.float32)
    make(Path("film.mkv"), "mkv", tracks=[silence, silence])
    assert transcribe("film.mkv").stderr == (
        "film.mkv: has 2 audio tracks, of which only the first was read\n"
        "film.mkv: no speech was found in the first track\n"
    )


@pytest.mark.parametrize(("name", "pack"), [("words.arpa", bytes), ("words.arpa.gz", gzip.compress)])
def test_a_language_model_decides_between_words(recording, name, pack):
    words = "\n".join(f"{-0.5 if letter != 'o' else -9}\t{letter}" for letter in KNOWN)
    Path(name).write_bytes(pack(ARPA.format(count=3 + len(KNOWN), words=words).encode()))
    with_it = transcribe(recording, "--lm", name).stdout
    assert with_it.startswith("f")
    Path("words.arpa").write_text("not an ARPA file")
    assert "words.arpa" in transcribe(recording, "--lm", "words.arpa", code=1).stderr


def test_save_keeps_the_sound_and_what_was_recognised(recording):
    other = write_spelled(Path("mam.wav"), "mam")
    done = transcribe(recording, other, "--save", "--domain", "kept")
    assert "are stored on this machine" in done.stderr
    assert "Stored as 13 to 14. Is a text wrong? 'asr-edge correct' opens the last one" in done.stderr
    with Store() as store:
        first, second = store.utterances("kept")
    assert (first.hypothesis, first.text, first.source) == ("f i o", None, "imported")
    assert second.hypothesis == "m a m"
    assert "Stored as 15. Is a text wrong?" in transcribe(recording, "--save").stderr
    assert transcribe(first.audio).stdout == "f i o\n"


def test_nothing_is_kept_unless_asked_for(recording):
    transcribe(recording)
    with Store() as store:
        assert store.domains() == ["codes"]


def test_a_long_recording_has_a_bar_at_a_terminal(recording):
    long = write_spelled(Path("long.wav"), "fio" * 5)
    done = transcribe(long, "-o", "out.txt", terminal=True)
    assert Path("out.txt").read_text().count("f") == 5
    assert done.stdout == ""
    assert "\x1b" not in Path("out.txt").read_text()


def test_a_file_that_cannot_be_written_is_said_before_the_model_is_loaded(recording):
    assert "no such folder: nowhere" in transcribe(recording, "-o", "nowhere/out.txt", code=1).stderr
    Path("file").write_text("")
    assert "file" in transcribe(recording, "-o", "file/out.txt", code=1).stderr


# the microphone


def test_live_text_is_printed_as_it_comes_and_ctrl_c_ends_it(home_of_tiny, sound):
    device = sound([*blocks(spell("fio")[0]), *blocks(spell("mam")[0]), CtrlC()])
    done = transcribe("--device", "desk", "--silence", "2.5")
    assert "Listening to desk; Ctrl-C stops." in done.stderr
    assert done.stdout.splitlines() == ["f i o", "m a m"]
    assert device.opened[0]["device"] == "desk"


def test_live_text_at_a_terminal_has_a_meter_and_partial_text(home_of_tiny, sound, monkeypatch):
    monkeypatch.setitem(ENVIRONMENT, "TERM", "xterm")  # a dumb terminal shows no meter
    sound([*blocks(spell("fioma")[0]), CtrlC()])
    done = transcribe("--silence", "2.5", terminal=True)
    assert "\r\x1b[K[" in done.stderr
    assert "█" in done.stderr
    assert "f i o" in done.stdout


def test_live_json_lines_are_kept(home_of_tiny, sound):
    sound([*blocks(spell("fio")[0]), CtrlC()]).overflows = True
    done = transcribe("--format", "jsonl", "--save", "--domain", "kept", "--silence", "2.5")
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["text"] == "f i o"
    assert "Some audio was lost" in done.stderr
    assert "Stored as 13." in done.stderr
    with Store() as store:
        assert [u.source for u in store.utterances("kept")] == ["recorded"]


def test_what_is_spoken_last_is_not_lost(home_of_tiny, sound):
    sound([*blocks(spell("fio")[0], silence_s=0.0), CtrlC()])
    assert transcribe("--silence", "2.5").stdout == "f i o\n"


def test_the_microphones_are_listed(sound):
    device = sound()
    assert call("transcribe", "--list-devices").stdout == "*   0  desk  (1 ch, 16000 Hz)\n"
    (listed,) = json.loads(call("transcribe", "--list-devices", "-f", "json").stdout)
    assert listed == {"index": 0, "name": "desk", "channels": 1, "sample_rate": 16_000.0, "is_default": True}
    device.devices.pop(0)
    assert call("transcribe", "--list-devices").stderr == "No microphone was found.\n"


def test_the_real_microphones_are_listed():
    try:
        import sounddevice
    except OSError:
        pytest.skip("PortAudio is not installed (Debian: libportaudio2)")
    inputs = [one for one in sounddevice.query_devices() if one["max_input_channels"] > 0]
    assert len(json.loads(call("transcribe", "--list-devices", "-f", "json").stdout or "[]")) == len(inputs)


def test_a_format_of_whole_recordings_is_refused_at_the_microphone(home_of_tiny):
    assert "srt is for recordings" in transcribe("-f", "srt", code=1).stderr


def test_live_text_also_goes_to_a_file_that_must_not_exist(home_of_tiny, sound):
    sound([*blocks(spell("fio")[0]), *blocks(spell("mam")[0], silence_s=0.0), CtrlC()])
    done = transcribe("-o", "notes.txt", "--silence", "1.0")
    assert done.stdout == "f i o\nm a m\n" == Path("notes.txt").read_text()
    sound([CtrlC()])
    assert "notes.txt: already exists" in transcribe("-o", "notes.txt", code=1).stderr
    assert Path("notes.txt").read_text() == done.stdout
    sound([CtrlC()])
    transcribe("-o", "notes.txt", "--overwrite")
    assert Path("notes.txt").read_text() == ""


def test_a_microphone_without_any_sound_is_reported_once_by_name(home_of_tiny, sound):
    sound([*blocks(np.zeros(0, np.float32), silence_s=12.0), CtrlC()])
    assert transcribe().stderr.count("No sound at all has come from desk for 5 s. Is it muted?") == 1
    noise = np.random.default_rng(0).normal(0, 1e-4, 8 * SAMPLE_RATE).astype(np.float32)
    sound([*blocks(noise, silence_s=0.0), CtrlC()])
    assert "No sound" not in transcribe().stderr


def test_each_saved_live_line_shows_its_number(home_of_tiny, sound):
    sound([*blocks(spell("fio")[0]), *blocks(spell("mam")[0]), CtrlC()])
    done = transcribe("--save", "--silence", "1.0")
    with Store() as store:
        numbers = [one.number for one in store.utterances("my-speech")]
    assert len(numbers) == 2
    assert all(f"  saved as {number}\n" in done.stderr for number in numbers)


def test_the_last_sentence_is_shown_if_ctrl_c_has_ended_the_reader_of_the_pipe(home_of_tiny, sound, monkeypatch):
    sound([*blocks(spell("fio")[0], silence_s=0.0), CtrlC()])

    def broken(_line, **_options):
        raise BrokenPipeError

    monkeypatch.setattr("device_app.cli.terminal.listening.echo", broken)
    monkeypatch.setattr("device_app.cli._discard_output", lambda: None)
    assert "f i o" in transcribe("--silence", "2.5", code=1).stderr


# evaluate and bench


def test_stored_recordings_are_evaluated_by_domain(home_of_tiny):
    held_out = json.loads(call("evaluate", "--domain", "codes", "--model", "tiny", "--json").stdout)
    training = json.loads(call("evaluate", "--domain", "codes", "--split", "train", "--model", "tiny", "--json").stdout)
    assert held_out["manifests"][0]["manifest"] == "codes"
    assert held_out["utterances"] + training["utterances"] == 12
    assert "there is no domain" in call("evaluate", "--domain", "other", code=1).stderr
    assert "recordings with --domain, such as --domain my-speech" in call("evaluate", code=1).stderr


def test_evaluate_prints_a_table(home_of_tiny, spelled, tmp_path):
    done = call("evaluate", spelled, "--model", "tiny", "--worst", "2")
    head, row = done.stdout.splitlines()[:2]
    assert head.split() == ["utterances", "english", "WER", "CER", "basic", "WER", "CER"]
    assert row.split()[:2] == [str(spelled), "12"]
    assert done.stdout.count("REF: ") == 2
    assert "RTF" in done.stdout


def test_evaluate_of_several_manifests_speakers_and_a_split(home_of_tiny, spelled, tmp_path):
    folder = shutil.copytree(spelled.parent, tmp_path / "copy")
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    for number, line in enumerate(lines):
        line["speaker"] = ("anna", "bert")[number % 2]
        line["split"] = ("test", "train")[number % 2]
    copy = folder / "manifest.jsonl"
    copy.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = call("evaluate", spelled, copy, "--model", "tiny").stdout
    assert "\n  bert " in shown
    assert "\nall " in shown
    record = json.loads(call("evaluate", copy, "--split", "test", "--model", "tiny", "--json").stdout)
    assert record["utterances"] == 6
    assert record["manifests"][0]["speakers"].keys() == {"anna"}


FIGURES = {
    "rtf": 0.05,
    "first_text_s": 0.25,
    "clips_ms": {"1": 10.0, "10": 90.0},
    "end_of_speech_ms": {"median": 12.34, "p95": 20.0},
    "silence_s": 0.5,
}


def test_bench_prints_every_figure(home_of_tiny, monkeypatch):
    long = write_spelled(Path("long.wav"), "fioma" * 3)
    monkeypatch.setattr("device_app.evaluation.speed.measure", lambda *_arguments, on_done: on_done() or FIGURES)
    lines = call("bench", long, "--model", "tiny", "--repeats", "1").stdout.splitlines()
    assert lines[0] == "conformer-ctc-tiny (int8)"
    assert lines[2:6] == [
        "  first text         0.250 s  (3 s of speech, just after loading)",
        "  real-time factor   0.0500  (20 x real time)",
        "  clips              1 s: 10 ms, 10 s: 90 ms",
        "  end of speech      12.3 ms median, 20.0 ms p95, after 0.5 s of silence",
    ]
    assert lines[1].startswith("  load ")
    assert lines[6].startswith("  peak memory ")


def test_bench_needs_files_and_ten_seconds(recording):
    assert "less than 10 s" in call("bench", recording, "--model", "tiny", code=1).stderr
    assert "bench reads files" in call("bench", "-", "--model", "tiny", code=1).stderr


# main


def test_an_operating_system_error_is_one_line_and_a_closed_pipe_none(home_of_tiny, monkeypatch):
    from device_app import cli

    forgotten = []
    monkeypatch.setattr(cli, "_discard_output", lambda: forgotten.append(True))

    def fails(error):
        def run():
            raise error

        monkeypatch.setattr(cli, "application", lambda: run)

    fails(OSError(28, "No space left on device", "big.wav"))
    assert call("log", code=1).stderr == "asr-edge: big.wav: No space left on device; free some space and try again\n"
    fails(OSError(28, "No space left on device"))
    assert (
        call("log", code=1).stderr
        == "asr-edge: standard output: No space left on device; free some space and try again\n"
    )
    fails(BrokenPipeError())
    assert call("log", code=1).stderr == ""
    assert len(forgotten) == 3
    fails(KeyboardInterrupt())
    assert call("log", code=130).stderr == ""
    assert sys.argv[0] != "asr-edge"
