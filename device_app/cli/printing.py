"""All that commands print passes through here, so that no name can control the terminal.

No other module of the command line calls `typer.echo` or `typer.confirm`; a test sees to it.
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
        err: to standard error.
        bold, colour: how a terminal shows it.
    """
    text = printable(str(line))
    typer.echo(typer.style(text, bold=bold or None, fg=colour) if bold or colour else text, err=err)


def print_text(text: str) -> None:
    """Prints a text that has its own line breaks and tabs, as it is except for other control characters."""
    typer.echo(printable(text, keep="\n\t"), nl=False)


def print_json(document: Any) -> None:
    """Prints one JSON document; what would control the terminal is escaped, which changes no value."""
    print_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def ask(question: str, *, abort: bool = False) -> bool:
    """Asks a person on standard error for yes or no.

    Raises:
        typer.Abort: the answer is no, and `abort` is set; or there is none.
    """
    return typer.confirm(printable(question), abort=abort, err=True)


def prepare_streams() -> None:
    """Call it first: makes the standard streams safe to use, also those that the caller has closed.

    A closed descriptor would be given to the next file that is opened, and output would go into that
    file. It is held by the null device, opened so that using it fails with "Bad file descriptor".
    """
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=ENCODING_ERRORS)
