"""Types into the focused window and reads its selection, by programs of the desktop: xdotool, wtype, ydotool.

Texts go to the programs on standard input, so that no other user can see them among the running processes.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from device_app.data.names import is_permitted
from editing.errors import AsrEdgeError, MissingDependencyError

TIMEOUT_S = 20.0  # for one call of a program; at 25 ms a character, xdotool types 800 characters in it
BACKSPACE_CODE = 14  # KEY_BACKSPACE of linux/input-event-codes.h, which ydotool takes


class TypingError(AsrEdgeError, RuntimeError):
    """The text could not be typed, or the selection not be read."""


class Window(Protocol):
    """The window with the keyboard focus."""

    def type(self, text: str) -> None:
        """Types a text of one line.

        Raises:
            TypingError: the program of the desktop failed.
        """
        ...

    def erase(self, characters: int) -> None:
        """Presses Backspace so many times.

        Raises:
            TypingError: the program of the desktop failed.
        """
        ...

    def selection(self) -> str:
        """The text that the user has selected with the mouse or the keyboard.

        Raises:
            TypingError: nothing is selected, or it cannot be read.
            MissingDependencyError: no program that reads it is installed.
        """
        ...


@dataclass(frozen=True)
class X11Window:
    """An X11 window: xdotool types; xclip, xsel, or else tkinter reads the selection."""

    def type(self, text: str) -> None:
        """See `Window`."""
        # For a letter that is not on the keyboard, xdotool changes a key, and the window needs time to learn of it.
        delay_ms = "2" if text.isascii() else "25"
        _run(["xdotool", "type", "--clearmodifiers", "--delay", delay_ms, "--file", "-"], one_line_of(text))

    def erase(self, characters: int) -> None:
        """See `Window`."""
        if characters:
            _run(["xdotool", "key", "--clearmodifiers", "--delay", "2", "--repeat", str(characters), "BackSpace"])

    def selection(self) -> str:
        """See `Window`."""
        for command in (["xclip", "-o", "-selection", "primary"], ["xsel", "--primary", "--output"]):
            if shutil.which(command[0]):
                return _run(command)
        return _tk_selection()


@dataclass(frozen=True)
class WaylandWindow:
    """A Wayland window: wl-paste reads the selection.

    Attributes:
        program: what types: "wtype", where the compositor supports it (Sway, Hyprland), or "ydotool", which needs
            its daemon.
    """

    program: str

    def type(self, text: str) -> None:
        """See `Window`."""
        command = ["wtype", "-"] if self.program == "wtype" else ["ydotool", "type", "--file", "-"]
        _run(command, one_line_of(text))

    def erase(self, characters: int) -> None:
        """See `Window`."""
        if not characters:
            return
        if self.program == "wtype":
            _run(["wtype", *["-k", "BackSpace"] * characters])
        else:
            _run(["ydotool", "key", *[f"{BACKSPACE_CODE}:1", f"{BACKSPACE_CODE}:0"] * characters])

    def selection(self) -> str:
        """See `Window`.

        Raises:
            MissingDependencyError: wl-paste is not installed.
        """
        if not shutil.which("wl-paste"):
            raise MissingDependencyError(
                "reading the selection needs wl-paste; install it: sudo apt install wl-clipboard"
            )
        return _run(["wl-paste", "--primary", "--no-newline"])


def focused_window() -> Window:
    """The focused window of this desktop.

    Raises:
        MissingDependencyError: there is no desktop, or no program that types is installed.
        TypingError: the desktop does not answer.
    """
    if os.environ.get("WAYLAND_DISPLAY"):
        _check_wayland()
        if shutil.which("wtype") and _does_wtype_work():
            return WaylandWindow("wtype")
        if shutil.which("ydotool"):
            return WaylandWindow("ydotool")
        raise MissingDependencyError(
            "typing into Wayland windows needs wtype (for Sway, Hyprland) or ydotool (for GNOME, KDE); "
            "install it: sudo apt install wtype, or sudo apt install ydotool and then what docs/dictate.md says"
        )
    if not os.environ.get("DISPLAY"):
        raise MissingDependencyError(
            "there is no desktop to type into (neither WAYLAND_DISPLAY nor DISPLAY is set); "
            "run 'asr-edge type' in a terminal of the desktop"
        )
    if not shutil.which("xdotool"):
        raise MissingDependencyError("typing into X11 windows needs xdotool; install it: sudo apt install xdotool")
    try:
        _run(["xdotool", "getdisplaygeometry"])
    except TypingError as error:
        raise _no_answer("DISPLAY") from error
    return X11Window()


def _does_wtype_work() -> bool:
    """Whether the compositor lets wtype type; those of GNOME and KDE lack the protocol for it."""
    try:
        _run(["wtype", ""])
    except TypingError:
        return False
    return True


def _check_wayland() -> None:
    """Checks that a compositor answers at the socket that WAYLAND_DISPLAY names.

    Raises:
        TypingError: no compositor answers.
    """
    path = Path(os.environ.get("XDG_RUNTIME_DIR", "/"), os.environ["WAYLAND_DISPLAY"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(TIMEOUT_S)
        try:
            probe.connect(str(path))
        except OSError as error:
            raise _no_answer("WAYLAND_DISPLAY") from error


def _no_answer(variable: str) -> TypingError:
    return TypingError(
        f"{variable}={os.environ[variable]}: no desktop answers there; run 'asr-edge type' in a terminal of the "
        "desktop, or set this variable as it is there"
    )


def one_line_of(text: str) -> str:
    """A text with spaces for all white space, and without control characters, which would press keys such as Enter.

    Joiners stay: they are part of the spelling.
    """
    spaced = "".join(" " if character.isspace() else character for character in text)
    return "".join(filter(is_permitted, spaced))


def _run(command: Sequence[str], text: str = "") -> str:
    """Runs a program with a text as its standard input; returns its standard output.

    Raises:
        TypingError: the program fails or does not end.
    """
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, check=False, timeout=TIMEOUT_S)  # noqa: S603 - no shell, no text of others among the arguments
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TypingError(f"{command[0]}: cannot be run ({type(error).__name__}); nothing was typed") from error
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise TypingError(f"{command[0]}: {reason[-1] if reason else f'exit code {done.returncode}'}")
    return done.stdout.decode(errors="replace")


def _tk_selection() -> str:
    try:
        import tkinter as tk
    except ImportError as error:
        raise MissingDependencyError(
            "reading the selection needs xclip or xsel; install one: sudo apt install xclip"
        ) from error
    try:
        root = tk.Tk()
        try:
            root.withdraw()
            return str(root.selection_get(selection="PRIMARY"))  # type: ignore[no-untyped-call]
        finally:
            root.destroy()
    except tk.TclError as error:
        raise TypingError(f"nothing is selected ({error})") from error
