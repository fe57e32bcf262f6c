"""Output of all commands, with control characters escaped, so that no name can control the terminal.

No other module of the command line calls `typer.echo` or `typer.confirm`; a test checks that.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import typer

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
    """Prints one JSON document; escapes control characters, which changes no value."""
    print_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def ask(question: str, *, abort: bool = False) -> bool:
    """Asks for yes or no on standard error.

    Raises:
        typer.Abort: the answer is no and `abort` is set, or standard input has ended.
    """
    return typer.confirm(printable(question), abort=abort, err=True)


def prepare_streams() -> None:
    """Makes the standard streams safe to use, even if the caller has closed them. Call it first.

    The system would give a closed descriptor to the next file that is opened, and output would go into that
    file. Therefore the null device takes it, opened so that using it fails with "Bad file descriptor".
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
