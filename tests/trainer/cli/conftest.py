"""Runs the commands of `trainer.cli` in the test process, each test with its own data folder."""

import contextlib
import copy
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from device_app.cli import main
from tests.conftest import write_audio

# A real host on a real socket, shared with the tests of the host.
from tests.trainer.host.conftest import database, host_home, keys, make_jobs, serve  # noqa: F401

ENVIRONMENT = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
# `host serve` sends their messages to standard error, which a test closes at its end; servers of later tests log too.
LOGGERS = ("device_app.service.http.logs", "uvicorn.error", "trainer.host")


@dataclass(frozen=True)
class Done:
    """The exit code, standard output and standard error of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def asr(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Callable[..., Done]:
    """Runs `asr-edge` through its entry point, so that errors become the lines that a user sees."""
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    for logger in map(logging.getLogger, LOGGERS):
        for name in ("handlers", "propagate", "level", "_cache"):
            monkeypatch.setattr(logger, name, copy.copy(getattr(logger, name)))

    def call(*arguments: object, answer: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["asr-edge", *map(str, arguments)])
        with CliRunner().isolation(input=answer, env=ENVIRONMENT) as (out, err, _):
            code: Any = 0
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
            if isinstance(code, str):  # at exit, Python prints such a text
                print(code, file=sys.stderr)
                code = 1
            with contextlib.suppress(ValueError):
                sys.stderr.flush()
                sys.stdout.flush()
            return Done(code, out.getvalue().decode(), err.getvalue().decode())

    return call


def outline(document: Any) -> Any:
    """Replaces measured numbers in a JSON document with the name of their type, for comparison with golden data."""
    if isinstance(document, dict):
        return {key: outline(value) for key, value in document.items()}
    if isinstance(document, list):
        return [outline(value) for value in document]
    return "float" if isinstance(document, float) else document


@pytest.fixture
def manifest(tmp_path, reading):
    """Writes a manifest of real speech, one line per text; the texts are not what is spoken."""

    def write(name: str, *lines: tuple[str, str], seconds: float = 2.0):
        folder = tmp_path / name
        records = []
        for number, (text, split) in enumerate(lines):
            start = round(number * seconds * 16000)
            audio = write_audio(folder / f"{number}.wav", reading[start : start + round(seconds * 16000)])
            records.append({"audio": audio.name, "text": text, "split": split})
        path = folder / "manifest.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    return write
