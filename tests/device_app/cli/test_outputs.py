"""Outputs of commands: no existing file is lost, and streams are written to."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.device_app.cli.conftest import call
from tests.device_app.cli.letters import write_spelled


@pytest.fixture
def recording(home_of_tiny):
    """A recording of the letters f i o, "fio.wav", in the working folder."""
    return write_spelled(Path("fio.wav"), "fio")


def shell(line, **environment):
    """Runs a line of bash in which `asr-edge transcribe` uses the tiny model; returns exit code and output."""
    function = f'transcribe() {{ {shlex.quote(sys.executable)} -m device_app transcribe --model tiny "$@"; }}'
    return subprocess.run(
        ["bash", "-c", f"{function}\n{line}"],
        capture_output=True,
        env={**os.environ, "COLUMNS": "100", "TERM": "dumb", **environment},
        timeout=120,
        check=False,
    )


def transcribe(*arguments, **more):
    return call("transcribe", *arguments, "--model", "tiny", **more)


def contents(folder="."):
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


# Streams


def test_a_hyphen_is_standard_output(recording):
    assert transcribe(recording, "-o", "-").stdout == "f i o\n"
    assert contents().keys() == {"fio.wav"}
    assert transcribe(recording, "-o", "./-").stdout == ""
    assert Path("-").read_text() == "f i o\n"


def test_a_fifo_gets_the_text_and_stays(recording):
    os.mkfifo("fifo")
    with subprocess.Popen(["cat", "fifo"], stdout=subprocess.PIPE) as reader:
        transcribe(recording, "-o", "fifo", "-f", "srt")
        assert b"f i o" in reader.communicate()[0]
    assert Path("fifo").is_fifo()


def test_a_device_is_written_to_and_stays(recording):
    Path("null").symlink_to("/dev/null")
    assert transcribe(recording, "-o", "null").stderr == ""
    Path("full").symlink_to("/dev/full")
    assert "full: cannot be written (No space left" in transcribe(recording, "-o", "full", code=1).stderr
    assert Path("null").is_symlink()
    assert Path("/dev/null").is_char_device()
    assert Path("/dev/full").is_char_device()


def test_descriptors_are_written_at_their_position(recording):
    assert shell("transcribe fio.wav -o /dev/stdout | cat").stdout == b"f i o\n"
    Path("log").write_text("before\n")
    done = shell("{ transcribe fio.wav -o /dev/stdout; echo after; } >> log; transcribe fio.wav -o /dev/fd/7 7>> log")
    assert (done.returncode, done.stderr) == (0, b"")
    assert Path("log").read_text() == "before\nf i o\nafter\nf i o\n"
    assert shell("transcribe fio.wav -o >(cat > copy); sleep 0.5").stderr == b""
    assert Path("copy").read_text() == "f i o\n"


def test_the_target_of_a_link_is_replaced_and_the_link_stays(recording):
    Path("far").mkdir()
    Path("link.txt").symlink_to("far/real.txt")
    transcribe(recording, "-o", "link.txt")
    assert Path("link.txt").is_symlink()
    assert Path("far/real.txt").read_text() == "f i o\n"
    Path("far/real.txt").write_text("mine")
    assert "already exists" in transcribe(recording, "-o", "link.txt", code=1).stderr
    transcribe(recording, "-o", "link.txt", "--overwrite")
    assert (Path("link.txt").is_symlink(), Path("far/real.txt").read_text()) == (True, "f i o\n")


# Existing files


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize("name", ["talk", "talk.backup", "fio.wav"])
def test_a_recording_is_not_replaced_whatever_its_name(recording, name, overwrite):
    if name != "fio.wav":
        shutil.copy(recording, name)
    before = contents()
    done = transcribe(recording, "-o", name, *overwrite, code=1)
    assert done.stderr.count("\n") == 1
    assert "nothing was changed" in done.stderr
    assert contents() == before


def test_the_model_in_use_is_not_replaced(recording, home_of_tiny):
    """A folder that `model use` has chosen may be anywhere."""
    shutil.copytree(home_of_tiny / "models" / "tiny", "own")
    call("model", "use", "./own")
    before = contents()
    done = call("transcribe", recording, "-o", "own/model.json", "--overwrite", code=1)
    assert "nothing was changed" in done.stderr
    assert contents() == before


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize("name", ["store.sqlite3", "new.txt", "audio/"])
def test_the_data_folder_is_not_written_into(recording, home_of_tiny, name, overwrite):
    before = contents(home_of_tiny)
    done = transcribe(recording, "-o", f"{home_of_tiny}/{name}", *overwrite, code=1)
    assert "own data folder" in done.stderr
    assert done.stderr.count("\n") == 1
    assert contents(home_of_tiny) == before


@pytest.mark.parametrize(
    "line",
    [
        "transcribe - -o fio.wav < fio.wav",
        "transcribe - -o fio.wav --overwrite < fio.wav",
        "transcribe - --overwrite -o plain < plain",
        "transcribe /dev/stdin --overwrite -o plain < plain",
        "transcribe fio.wav >> fio.wav",
        "transcribe - -f json < fio.wav 1<> fio.wav",
        "transcribe fio.wav -o /dev/stdout >> fio.wav",
    ],
)
def test_standard_input_and_output_may_be_the_recording_itself(recording, line):
    shutil.copy(recording, "plain")
    before = contents()
    done = shell(line)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert b"nothing was changed" in done.stderr
    assert contents() == before


@pytest.mark.parametrize("form", ["txt", "json", "jsonl", "srt", "vtt", "tsv"])
def test_files_beside_recordings_are_not_replaced_in_any_format(home_of_tiny, form):
    write_spelled(Path("in/a.wav"), "fio").rename("in/a.Wav")
    Path(f"in/a.{form}").write_text("what was really said")
    write_spelled(Path("in/other.wav"), "mam")
    before = contents()
    done = transcribe("in", "-o", "in", "-f", form, code=1)
    assert f"a.{form}: already exists; nothing was changed" in done.stderr
    assert contents() == before
    transcribe("in", "-o", "out", "-f", form)
    again = transcribe("in", "-o", "out", "-f", form, code=1)
    assert "--overwrite" in again.stderr
    transcribe("in", "-o", "out", "-f", form, "--overwrite")
    assert Path(f"in/a.{form}").read_text() == "what was really said"


def test_a_picture_and_a_vector_replace_a_file_only_with_overwrite(home_adapted):
    pytest.importorskip("matplotlib")
    for name in ("photo.png", "vector.safetensors"):
        Path(name).write_bytes(b"mine")
    for command in (("report", "--picture", "photo.png"), ("vector", "export", 1, "vector.safetensors")):
        done = call(*command, "--model", "tiny", code=1)
        assert "already exists; nothing was changed" in done.stderr
        assert Path(command[-1]).read_bytes() == b"mine"
        call(*command, "--overwrite", "--model", "tiny")
        assert Path(command[-1]).read_bytes() != b"mine"
    done = shell(f"{shlex.quote(sys.executable)} -m device_app vector export 1 /dev/stdout --model tiny")
    assert done.stdout == Path("vector.safetensors").read_bytes()
    assert b"of the entries" in done.stderr


@pytest.mark.parametrize(
    "command",
    [("terms", "export", "-o"), ("backup",), ("vector", "export", 1), ("transcribe", "-o")],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("name", ["fio.wav", "talk"])
def test_no_command_replaces_a_recording(recording, command, name):
    Path(recording).replace(name)
    before = contents()
    done = call(*command, name, "--overwrite", code=1)
    assert done.stderr == f"asr-edge: {name}: is a recording, which would be overwritten; nothing was changed. " + (
        "Name another file\n"
    )
    assert contents() == before


def test_a_file_stays_as_it_is_if_there_is_no_microphone(recording):
    Path("notes.txt").write_text("mine")
    done = call("transcribe", "--model", "tiny", "-o", "notes.txt", "--overwrite", "--device", "no such one", code=1)
    assert done.stderr.count("\n") == 1
    assert Path("notes.txt").read_text() == "mine"


# Folders


def test_a_folder_is_made_only_if_the_output_is_a_folder(home_adapted):
    recording = write_spelled(Path("fio.wav"), "fio")
    before = sorted(Path().rglob("*"))
    for command in (
        ("transcribe", recording, "-o", "new/out.txt"),
        ("report", "--picture", "new/matrix.png"),
        ("vector", "export", 1, "new/vector.safetensors"),
        ("terms", "export", "-o", "new/terms.txt"),
        ("backup", "new/backup"),
    ):
        model = ("--model", "tiny") if command[0] in ("transcribe", "report", "vector") else ()
        done = call(*command, *model, code=1)
        assert "cannot be written (no such folder: new); nothing was changed" in done.stderr
    assert sorted(Path().rglob("*")) == before
    transcribe(recording, "-o", "new/deep/")
    assert Path("new/deep/fio.txt").read_text() == "b i c\n"


@pytest.mark.parametrize(
    "command",
    [("export", "--model", "tiny", "--out"), ("dataset", "export", "--domain", "codes", "--out")],
    ids=["export", "dataset export"],
)
def test_a_folder_is_not_made_in_the_data_folder(home_of_tiny, command):
    assert "own data folder" in call(*command, home_of_tiny / "new", code=1).stderr
    assert not (home_of_tiny / "new").exists()


# Streams that the caller has closed, or that cannot show a name


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("transcribe - <&-", b"asr-edge: standard input: cannot be read (Bad file descriptor)\n"),
        ("transcribe fio.wav >&-", b"asr-edge: standard output: Bad file descriptor\n"),
        ("transcribe fio.wav -f json >&- <&-", b"asr-edge: standard output: Bad file descriptor\n"),
    ],
)
def test_a_closed_stream_is_one_line(recording, line, message):
    done = shell(line)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", message)


def test_output_does_not_depend_on_closed_streams(recording):
    done = shell("transcribe fio.wav -o out.txt <&- >&- 2>&-")
    assert done.returncode == 0
    assert contents().keys() == {"fio.wav", "out.txt"}
    assert Path("out.txt").read_text() == "f i o\n"


def test_a_fifo_is_read_as_a_recording(recording):
    done = shell("transcribe <(cat fio.wav); mkfifo pipe; cat fio.wav > pipe & transcribe pipe -f json")
    first, _, rest = done.stdout.partition(b"\n")
    assert (first, json.loads(rest)["text"], done.stderr) == (b"f i o", "f i o", b"")


def test_names_that_standard_output_cannot_show_are_escaped(home_of_tiny):
    write_spelled(Path("in/日本語 café.wav"), "fio")
    write_spelled(Path("in/z.wav"), "mam")
    done = shell("transcribe in", PYTHONIOENCODING="latin-1")
    lines = done.stdout.decode("latin-1").splitlines()
    assert lines == ["in/z.wav: m a m", "in/\\u65e5\\u672c\\u8a9e café.wav: f i o"]
    done = shell("transcribe in", PYTHONIOENCODING="ascii")  # click writes UTF-8 there: ASCII is a missing setting
    assert done.stdout.decode().splitlines() == ["in/z.wav: m a m", "in/日本語 café.wav: f i o"]
    done = shell("transcribe in -f json", PYTHONIOENCODING="ascii")
    assert [one["file"] for one in json.loads(done.stdout)] == ["in/z.wav", "in/日本語 café.wav"]


@pytest.mark.parametrize("form", ["txt", "json", "jsonl", "srt"])
def test_names_that_are_not_utf_8(home_of_tiny, form):
    folder = os.fsencode(Path("in"))
    write_spelled(Path("in/zulu.wav"), "mam")
    shutil.copy("in/zulu.wav", folder + b"/caf\xe9.wav")
    done = transcribe("in", "-f", form, "-o", "out")
    assert (done.stdout, done.stderr) == ("", "")
    assert {name[:3] for name in os.listdir(b"out")} == {b"zul", b"caf"}  # noqa: PTH208 (names as bytes)
    if form != "srt":
        done = transcribe("in", "-f", form)
        assert r"caf\udce9.wav" in done.stdout
        assert "zulu.wav" in done.stdout
        assert "Traceback" not in done.stderr


# A language model


def test_the_error_for_a_missing_or_damaged_language_model_has_no_line_number(recording):
    said = transcribe(recording, "--lm", "missing.arpa", code=1).stderr
    assert said == "asr-edge: missing.arpa: cannot be read (No such file or directory)\n"
    Path("latin1.arpa").write_bytes(b"\\data\\\ncaf\xe9\n")
    Path("plain.arpa.gz").write_bytes(b"not gzip")
    Path("cut.arpa.gz").write_bytes(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xff\xff\xff")
    for name in ("latin1.arpa", "plain.arpa.gz", "cut.arpa.gz"):
        said = transcribe(recording, "--lm", name, code=1).stderr
        assert said.startswith(f"asr-edge: {name}: not an ARPA file")
        assert said.count("\n") == 1


def test_json_lines_name_the_recording_wherever_they_go(recording):
    printed = transcribe(recording, "-f", "jsonl").stdout
    transcribe(recording, "-f", "jsonl", "-o", "out.jsonl")
    assert Path("out.jsonl").read_text() == printed
    assert json.loads(printed)["file"] == "fio.wav"
