"""Sends commands to a running dictation through a Unix socket that only this user can open."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from device_app.paths import data_folder
from editing.errors import BadInputError, StorageError
from editing.privacy import make_folder

NAME = "asr-edge-type.sock"
MAX_COMMAND = 32  # bytes of a command that are read
TIMEOUT_S = 5.0  # for a client or the server that does not answer


class Command(StrEnum):
    """A command of the user, usually sent by a keyboard shortcut of the desktop."""

    TOGGLE = "toggle"
    START = "start"
    STOP = "stop"
    UNDO = "undo"
    CORRECT = "correct"
    QUIT = "quit"


def socket_path() -> Path:
    """The socket, in the user's runtime folder, or in the data folder where there is none."""
    return Path(os.environ.get("XDG_RUNTIME_DIR") or data_folder()) / NAME


def send(command: Command) -> None:
    """Sends a command to the running dictation.

    Raises:
        BadInputError: no dictation runs.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as opened:
        opened.settimeout(TIMEOUT_S)
        try:
            opened.connect(str(socket_path()))
            opened.sendall(command.encode())
        except OSError as error:
            raise BadInputError("no dictation runs; start it with 'asr-edge type'") from error


class CommandServer:
    """Receives commands in a thread while the `with` block lasts; `commands` holds those not yet carried out."""

    def __init__(self) -> None:
        self.commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._path = socket_path()

    def __enter__(self) -> Self:
        """
        Raises:
            BadInputError: a dictation runs already.
            StorageError: the socket cannot be made.
        """
        if self._is_in_use():
            raise BadInputError("a dictation runs already; 'asr-edge type quit' ends it")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            make_folder(self._path.parent)
            self._path.unlink(missing_ok=True)
            before = os.umask(0o177)
            try:
                self._socket.bind(str(self._path))
            finally:
                os.umask(before)
            self._socket.listen()
        except OSError as error:
            self._socket.close()
            raise StorageError(f"{self._path}: cannot be made ({error.strerror or error})") from error
        threading.Thread(target=self._receive, name="asr-edge-type", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # ends the thread
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _is_in_use(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(self._path))
            except OSError:  # also a path that is too long for a socket, which `bind` reports
                return False
            return True

    def _receive(self) -> None:
        while True:
            try:
                accepted, _ = self._socket.accept()
            except OSError:
                return
            with accepted:
                accepted.settimeout(TIMEOUT_S)
                with contextlib.suppress(OSError, ValueError):  # what is no command is ignored
                    self.commands.put(Command(accepted.recv(MAX_COMMAND).decode()))
