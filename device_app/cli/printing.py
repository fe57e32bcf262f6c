"""Plain output, with control characters escaped, so that no name can control the terminal.

No other module of the command line calls `typer.echo` or `typer.confirm`; a test checks that. What prints with rich
must call `printable` itself.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, TextIO

import typer

from editing.errors import BadInputError
from editing.json_text import without_nan
from editing.printable import ENCODING_ERRORS, printable

CHOICE = " [y/N]: "
_COMMAND = re.compile(r"'asr-edge[^']*'")
_KEPT_SPACE = "\x00"  # not in a printable text


_shown_profile: ContextVar[tuple[str, re.Pattern[str] | None]] = ContextVar(
    "profile in shown commands", default=("", None)
)


def name_profile(name: str, commands: Iterable[str]) -> None:
    """Makes the commands in messages name a profile: without it they would change what belongs to somebody else.

    Args:
        name: the profile of `--profile`; empty if the commands need none.
        commands: names of the commands that depend on the profile.
    """
    pattern = re.compile(rf"\basr-edge (?=(?:{'|'.join(map(re.escape, commands))})\b)") if name else None
    _shown_profile.set((shlex.quote(name), pattern))


def _with_profile(text: str) -> str:
    name, pattern = _shown_profile.get()
    return text if pattern is None else pattern.sub(lambda _: f"asr-edge --profile {name} ", text)


def echo(
    line: object = "", *, err: bool = False, bold: bool = False, wraps: bool = True, hanging: int | None = None
) -> None:
    """Prints one line; control and bidirectional characters in it, line breaks included, become escapes.

    Text has no colours: no colour is readable on every background.

    Args:
        line: what to print.
        err: print to standard error.
        bold: bold, at a terminal that can show it.
        wraps: at a terminal, break a line that is too long between words, and name the profile in commands; False for
            transcripts, and for lines that a user copies.
        hanging: the columns by which the next lines of a broken line are indented; as the line by default.
    """
    stream = sys.stderr if err else sys.stdout
    text = printable(str(line))
    if wraps:
        text = _with_profile(text)
        if stream.isatty():
            text = wrapped(text, _columns(stream), hanging)
    typer.echo(typer.style(text, bold=True) if bold and not is_dumb() else text, err=err)


def is_dumb() -> bool:
    """Whether the terminal says that it knows no control sequences, as that of an editor may."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def wrapped(text: str, columns: int, hanging: int | None = None) -> str:
    """Breaks a line between words, but not within a quoted command such as 'asr-edge adapt'.

    A line with wide characters is not changed, because scripts that have them break anywhere.

    Args:
        text: one line.
        columns: width of the terminal.
        hanging: the columns by which the next lines are indented; as the first by default.

    >>> wrapped("  one two three", 10)
    '  one two\\n  three'
    """
    if len(text) <= columns or any(unicodedata.east_asian_width(character) in "WF" for character in text):
        return text
    body = text.lstrip()
    first = len(text) - len(body)
    indent = min(first if hanging is None else hanging, columns // 2)
    if " · " in body:  # a list of keys: "e edit text · q quit"
        kept = re.sub("(?<!·) ", _KEPT_SPACE, body)
    else:
        kept = _COMMAND.sub(lambda found: found[0].replace(" ", _KEPT_SPACE), body)
    lines = textwrap.wrap(
        kept,
        columns,
        initial_indent=" " * first,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace(_KEPT_SPACE, " ")


def _columns(stream: TextIO) -> int:
    """Width of the terminal of a stream; COLUMNS overrides it, as elsewhere in Python."""
    if not os.environ.get("COLUMNS"):
        try:
            if columns := os.get_terminal_size(stream.fileno()).columns:
                return columns
        except (OSError, ValueError):
            pass
    return shutil.get_terminal_size().columns


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
        BadInputError: standard input is closed.
    """
    text = printable(question)
    if sys.stderr.isatty():
        text = wrapped(text, _columns(sys.stderr) - len(CHOICE))
    try:
        return typer.confirm(text, abort=abort, err=True)
    except OSError as error:
        raise BadInputError(
            f"standard input: cannot be read ({error.strerror or error}); nothing was changed"
        ) from error


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
