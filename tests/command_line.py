"""Runs `asr-edge` in the process of the tests: a new process spends a second on imports."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import cache

import pytest
import typer.main
from typer.testing import CliRunner

import device_app.cli
from device_app.cli import application, main

ENVIRONMENT = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "TERMINAL_WIDTH": None, "FORCE_COLOR": None}


@dataclass(frozen=True)
class Done:
    """The output of a command and its exit code."""

    code: int
    stdout: str
    stderr: str


def call(*arguments: object, stdin: bytes = b"", code: int | None = 0, terminal: bool = False) -> Done:
    """Runs `asr-edge` in this process, as its entry point does.

    Args:
        arguments: command-line arguments.
        stdin: standard input.
        code: the expected exit code; None for any.
        terminal: whether the three streams claim to be a terminal.
    """
    with _isolated(stdin, terminal) as (out, err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["asr-edge", *map(str, arguments)])
        patch.setattr("device_app.execution.lower_priority", lambda: None)  # it would slow the tests that follow
        patch.setattr(sys.modules["__main__"], "__package__", "")  # otherwise the usage line would name pytest
        if device_app.cli.application is application:  # a test may have replaced it
            patch.setattr("device_app.cli.application", _built_commands)
        found: object = 0
        try:
            copy_context().run(main)  # what a command sets in its context ends with it, as with a process
        except SystemExit as exit_:
            found = exit_.code
            if isinstance(found, str):  # as Python does at exit
                sys.stderr.write(f"{found}\n")
                found = 1
        sys.stdout.flush()
        sys.stderr.flush()
        done = Done(int(found or 0), out.getvalue().decode(), err.getvalue().decode())
    assert code is None or done.code == code, done
    return done


@contextmanager
def _isolated(stdin: bytes, terminal: bool) -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    with CliRunner().isolation(input=stdin, env=ENVIRONMENT) as (out, err, _):
        if terminal:
            for stream in (sys.stdin, sys.stdout, sys.stderr):
                stream.isatty = lambda: True
        yield out, err


@cache
def _built_commands() -> Callable[[], object]:
    """Typer builds all commands again for each call, which takes longer than most of them."""
    built: Callable[[], object] = typer.main.get_command(application())
    return built
