"""Printed names cannot control the terminal."""

import ast
import errno
import json
import math
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import trainer.cli
from device_app import cli
from device_app.cli import printing
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
