"""Reads single keys and edited lines from a terminal."""

from __future__ import annotations

import os
import select
import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from editing.errors import BadInputError

ENTER = "enter"
SPACE = "space"


class Keyboard:
    """Reads keys as they are pressed, without Enter; inside its context the terminal does not echo them.

    with Keyboard("record", "'asr-edge import'") as keyboard:
        if keyboard.poll() == "q": ...
    """

    def __init__(self, verb: str, instead: str) -> None:
        """
        Args:
            verb: name of the interactive command, for the error.
            instead: the command to use without a terminal, in quotes, for the error.

        Raises:
            BadInputError: this is not a terminal.
        """
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise BadInputError(f"'{verb}' is interactive and needs a terminal; without one use {instead}")
        from prompt_toolkit.input import create_input

        self._input = create_input()
        self._raw_mode = ExitStack()

    def __enter__(self) -> Self:
        self._raw_mode.enter_context(self._input.raw_mode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw_mode.close()

    def poll(self, wait_s: float | None = 0.0) -> str | None:
        """Returns the pressed key, if any: "enter", "space", or a character in lower case.

        Of several keys at once, such as a pasted text, returns the first one of these and ignores the others.

        Args:
            wait_s: how long to wait for a key; None waits without a limit.

        Raises:
            KeyboardInterrupt: Ctrl-C or Ctrl-D was pressed, or the terminal was closed.
        """
        from prompt_toolkit.keys import Keys

        if not select.select([self._input.fileno()], [], [], wait_s)[0]:
            return None
        presses = self._input.read_keys()
        if self._input.closed:
            raise KeyboardInterrupt
        for press in presses:
            if press.key in (Keys.ControlC, Keys.ControlD):
                raise KeyboardInterrupt
        for press in presses:
            if press.key in (Keys.ControlM, Keys.ControlJ):
                return ENTER
            if press.data == " ":
                return SPACE
            if len(press.data) == 1 and press.data.isprintable():
                return press.data.lower()
        return None

    def choose(self, keys: str) -> str:
        """Waits for one of these keys or "enter"."""
        while True:
            key = self.poll(None)
            if key is not None and key in (ENTER, *keys):
                return key

    def edit(self, text: str) -> str | None:
        """Lets the user edit a line of text; returns None if they cancel."""
        from prompt_toolkit import PromptSession
        from prompt_toolkit.output import create_output

        # A line needs no cursor position, and a terminal that does not tell it would get a warning.
        os.environ.setdefault("PROMPT_TOOLKIT_NO_CPR", "1")
        session: PromptSession[str] = PromptSession(input=self._input, output=create_output(stdout=sys.stderr))
        with self._input.cooked_mode():
            try:
                return session.prompt("text: ", default=text)
            except (KeyboardInterrupt, EOFError):
                return None
