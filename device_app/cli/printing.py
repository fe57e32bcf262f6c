"""Plain output, with control characters escaped, so that no name can control the terminal.

No other module of the command line calls `typer.echo` or `typer.confirm`; a test checks that. What prints with rich
must call `printable` itself.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import typer

from editing.json_text import without_nan
from editing.printable import ENCODING_ERRORS, printable


def echo(line: object = "", *, err: bool = False, bold: bool = False, colour: str | None = None) -> None:
    """Prints one line; control and bidirectional characters in it, line breaks included, become escapes.

    Args:
        line: what to print.
        err: print to standard error.
        bold, colour: style at a terminal.
    """
    text = printable(str(line))
    typer.echo(typer.style(text, bold=bold or None, fg=colour) if bold or colour else text, err=err)


def print_text(text: str) -> None:
    """Prints a text with its line breaks and tabs; other control characters are escaped."""
    typer.echo(printable(text, keep="\n\t"), nl=False)


def print_json(document: Any) -> None:
    """Prints one JSON document; escapes control characters, which changes no value. NaN and infinity become null."""
    print_text(json.dumps(without_nan(document), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def ask(question: str, *, abort: bool = False) -> bool:
    """Asks a question on standard error, and reads yes or no from standard input.

    Args:
        question: without the choice of y and N, which is added.
        abort: whether no ends the command.

    Returns:
        True for yes.

    Raises:
        typer.Abort: the answer is no and `abort` is set, or standard input has ended.
    """
    return typer.confirm(printable(question), abort=abort, err=True)


def prepare_streams() -> None:
    """Makes the standard streams safe to use, even if the caller has closed them. Call it first.

    The system would give a closed descriptor to the next file that is opened, and output would go into that
    file. Therefore the null device takes it, opened so that reading 0 or writing 1 fails with "Bad file descriptor";
    what is written to 2 is discarded.
    """
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=ENCODING_ERRORS)
