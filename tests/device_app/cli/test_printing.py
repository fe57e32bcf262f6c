"""Printed names cannot control the terminal."""

import ast
import errno
import fcntl
import io
import json
import math
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path
from types import SimpleNamespace

import pytest

import trainer.cli
from device_app import cli
from device_app.cli import printing
from editing.errors import BadInputError
from editing.printable import ENCODING_ERRORS
from tests.device_app.cli.conftest import ENVIRONMENT, call
from tests.device_app.cli.letters import write_spelled

HOSTILE = ["\x1b]0;owned\x07\x1b[31mred", "all is well\rnot", "fio\u202evaw.exe", "a\nasr-edge: all deleted", "a\x9b2J"]
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # a line break ends a line


def modules():
    folders = [Path(cli.__file__).parent, Path(trainer.cli.__file__).parent]
    return [path for folder in folders for path in folder.rglob("*.py") if path != Path(printing.__file__)]


@pytest.mark.parametrize("path", modules(), ids=lambda path: "-".join(path.with_suffix("").parts[-3:]))
def test_only_the_module_printing_prints(path):
    calls = [node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    names = {ast.unparse(function) for function in calls}
    direct = {"typer.echo", "typer.secho", "typer.confirm", "typer.prompt", "typer.style", "click.echo", "print"}
    assert not names & direct
    if path.name != "live.py":
        assert not names & {"sys.stdout.write", "sys.stderr.write"}


def test_streams_that_the_caller_has_closed_lead_nowhere(monkeypatch):
    def is_closed(_number):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    opened = []
    system = {name: getattr(os, name) for name in ("O_WRONLY", "O_RDONLY", "devnull")}
    own = SimpleNamespace(**system, fstat=is_closed, open=lambda *arguments: opened.append(arguments))
    monkeypatch.setattr(printing, "os", own)
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    printing.prepare_streams()
    assert opened == [(os.devnull, mode) for mode in (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)]
    assert [stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)] == [0, 1, 2]
    assert sys.stdout.errors == sys.stderr.errors == ENCODING_ERRORS


def test_an_error_of_the_system_without_a_number_is_named(home_of_tiny, monkeypatch):
    def fails(*_arguments):
        raise OSError("the library has no other words")

    monkeypatch.setattr("device_app.status.status", fails)
    monkeypatch.setattr(cli, "_discard_output", lambda: None)
    assert call("status", "--model", "tiny", code=1).stderr == (
        "asr-edge: standard output: the library has no other words\n"
    )


def test_json_has_null_where_a_number_was_not_measured(capsys):
    document = {"wer": [[0.5, math.nan], (math.inf, 1)], "count": 3, "name": "NaN", "none": None}
    printing.print_json(document)
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found == {"wer": [[0.5, None], [None, 1]], "count": 3, "name": "NaN", "none": None}


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_recordings_are_escaped(home_of_tiny, name):
    write_spelled(Path(f"{name}.wav"), "fio")
    write_spelled(Path("mam.wav"), "mam")
    Path(f"bad {name}.wav").write_bytes(b"RIFF")
    done = call("transcribe", ".", "--model", "tiny", code=1)
    assert not UNSAFE.search(done.stdout + done.stderr)
    assert len(done.stdout.splitlines()) == 2
    assert len(done.stderr.splitlines()) == 2
    done = call("transcribe", f"{name}.wav", "-f", "json", "--model", "tiny")
    assert not UNSAFE.search(done.stdout)
    assert json.loads(done.stdout)["file"] == f"{name}.wav"
    done = call("transcribe", f"{name}.wav", "-f", "jsonl", "--model", "tiny")
    assert json.loads(done.stdout)["file"] == f"{name}.wav"


@pytest.mark.parametrize("name", ["[red]", "a[/b]", "\x1b[31m", "talk [abc123]"])
def test_a_name_in_a_progress_bar_is_neither_markup_nor_control(home_of_tiny, monkeypatch, name):
    monkeypatch.setitem(ENVIRONMENT, "TERM", "xterm")  # a dumb terminal shows no bar
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    long = write_spelled(Path(f"{name}.wav"), "fioma" * 4)
    done = call("transcribe", long, "-o", "out.txt", "--model", "tiny", terminal=True)
    assert name.replace("\x1b", r"\u001b") in done.stderr
    assert "\x1b[31m" not in done.stderr
    assert Path("out.txt").read_text().count("f") == 4


@pytest.mark.parametrize("name", HOSTILE)
def test_a_domain_in_a_ledger_that_somebody_else_wrote_is_escaped(home_adapted, name):
    from device_app.models.bundles import find_bundle
    from device_app.models.ledger import Ledger

    rename_domain(Ledger(find_bundle("tiny")).path, name)
    for command in (("log",), ("show", 1)):
        done = call(*command, "--model", "tiny", code=None)
        assert "Traceback" not in done.stderr
        assert not UNSAFE.search(done.stdout + done.stderr)
        assert "asr-edge: all deleted" not in (done.stdout + done.stderr).splitlines()


def rename_domain(ledger, name):
    """Renames the edit's domain in the ledger, as a file from another machine might."""
    record = json.dumps(json.loads(ledger.read_text("utf-8")))
    assert '"codes"' in record
    ledger.write_text(record.replace('"codes"', json.dumps(name)), "utf-8")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_microphones_are_escaped(sound, name):
    sound().devices[0]["name"] = name
    done = call("transcribe", "--list-devices")
    assert not UNSAFE.search(done.stdout)
    assert done.stdout.count("\n") == 1


class ATerminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def at_terminal(monkeypatch):
    """Prints a line at a terminal of so many columns; returns the lines on its screen."""

    def shown(columns, line, *, term="xterm", **options):
        screen = ATerminal()
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", term)
        monkeypatch.setattr("sys.stderr", screen)
        printing.echo(line, err=True, **options)
        return screen.getvalue().splitlines()

    return shown


LINE = "  3 of the 13 labelled utterances are held out; 'asr-edge adapt --domain kitchen' trains on the others."


def test_a_terminal_breaks_lines_between_words_and_keeps_their_indent(at_terminal):
    assert at_terminal(40, LINE) == [
        "  3 of the 13 labelled utterances are",
        "  held out;",
        "  'asr-edge adapt --domain kitchen'",
        "  trains on the others.",
    ]
    assert at_terminal(40, "name  " + "word " * 12, hanging=6)[1] == "      word word word word word"
    assert at_terminal(20, "a-long-command   a reason of words", hanging=17) == [
        "a-long-command   a",
        "          reason of",
        "          words",
    ]


def test_a_terminal_breaks_no_command_no_name_and_no_key_in_two(at_terminal):
    assert at_terminal(20, LINE)[4] == "  'asr-edge adapt --domain kitchen'"
    assert at_terminal(10, "/home/anna/recordings/kitchen-talk.flac is missing")[0].endswith("kitchen-talk.flac")
    assert at_terminal(10, "  /a-long-path.flac is missing")[:2] == ["  /a-long-path.flac", "  is"]
    assert at_terminal(30, "  Enter keep · p play · e edit text · q quit") == [
        "  Enter keep · p play ·",
        "  e edit text · q quit",
    ]


def test_lines_to_be_copied_and_wide_scripts_are_not_broken(at_terminal):
    assert at_terminal(20, LINE, wraps=False) == [LINE]
    assert at_terminal(10, "今天天气 很好 我们去公园吧") == ["今天天气 很好 我们去公园吧"]


def test_what_is_not_a_terminal_gets_whole_lines(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    printing.echo(LINE)
    assert capsys.readouterr().out == f"{LINE}\n"


def test_the_width_is_that_of_the_terminal_that_gets_the_line(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    controller, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    with open(end, "w") as stream:  # noqa: PTH123 (a descriptor)
        monkeypatch.setattr("sys.stderr", stream)
        printing.echo("word " * 10, err=True)
        stream.flush()
        assert os.read(controller, 1000) == b"word word word word word word word word\r\nword word\r\n"
    os.close(controller)


def test_a_dumb_terminal_gets_no_control_sequences(at_terminal):
    assert at_terminal(80, "text", bold=True) == ["\x1b[1mtext\x1b[0m"]
    assert at_terminal(80, "text", bold=True, term="dumb") == ["text"]


@pytest.mark.parametrize("arguments", [("--help",), ("adapt", "--help"), ("adapt", "--no-such-option")])
def test_nothing_is_printed_in_a_colour(monkeypatch, arguments):
    """Yellow and cyan cannot be read on a light background, blue not on a dark one."""
    monkeypatch.setitem(ENVIRONMENT, "TERM", "xterm-256color")
    monkeypatch.setitem(ENVIRONMENT, "NO_COLOR", None)
    done = call(*arguments, code=None, terminal=True)
    styles = set(re.findall(r"\x1b\[([\d;]*)m", done.stdout + done.stderr))
    assert styles
    assert styles <= {"0", "1", "2", "1;2", ""}


def test_a_long_error_is_broken_between_words(monkeypatch):
    monkeypatch.setitem(ENVIRONMENT, "COLUMNS", "40")
    lines = call("adapt", "--model", "no-such-model", code=1, terminal=True).stderr.splitlines()
    assert lines[0].startswith("asr-edge: ")
    assert len(lines) > 1
    assert all(len(line) <= 40 for line in lines)


def test_help_on_a_narrow_terminal_cuts_nothing_off(run_process):
    done = run_process("correct", "--help", COLUMNS="40")
    assert "--threads" in done.stdout
    assert "…" not in done.stdout
    assert all(len(line) <= 40 for line in done.stdout.splitlines())


def test_a_question_to_a_closed_standard_input_names_it(monkeypatch):
    with os.fdopen(os.open(os.devnull, os.O_WRONLY)) as closed:  # as `prepare_streams` replaces it
        monkeypatch.setattr(sys, "stdin", closed)
        with pytest.raises(BadInputError, match=r"^standard input: cannot be read \(Bad file descriptor\); nothing"):
            printing.ask("Delete it?")
