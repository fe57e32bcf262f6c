"""The state of a task, in a file that its process writes and the service reads."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from device_app.paths import data_folder
from editing.errors import BlockedError, StorageError
from editing.files import cannot_read, write_atomically
from editing.json_text import read_json
from editing.privacy import make_folder

Status = Literal["none", "running", "done", "stopped", "failed", "interrupted"]
Kind = Literal["learn", "preview", "reweight", "revert", "measure"]

STATE, LOCK, STOP = "task.json", "task.lock", "task.stop"  # names of files; see `TaskFiles`
MAX_BYTES = 8 << 20  # of the state
EXIT_S = 10.0  # in which the process of a task that has written its result must end


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        kind: what it does; see `work`.
        arguments: the arguments of the work.
        status: "interrupted" if its process died.
        step: what the task is doing now, as the reporter calls it.
        done, total: how far the step is; total is 0 if that is unknown.
        left_s: seconds until the step ends, as far as its rate tells; None if that is unknown.
        all_left_s: seconds until the task ends, as far as that can be told; None if that is unknown.
        epoch, loss: those of a fine-tuning; `loss` is the training loss, None before the first update.
        result: the result of the work, when it is done.
        error: why it failed.
    """

    kind: Kind | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    status: Status = "none"
    step: str = ""
    done: float = 0.0
    total: float = 0.0
    left_s: float | None = None
    all_left_s: float | None = None
    epoch: int = 0
    loss: float | None = None
    result: Mapping[str, Any] | None = None
    error: str = ""


class TaskFiles:
    """The files of the task of a profile: its state, the lock that its process holds, and the request to stop it."""

    def __init__(self, folder: Path | None = None) -> None:
        """
        Args:
            folder: made if it does not exist; None for one in the data folder of the active profile.
        """
        self.folder = folder or data_folder() / "service"
        make_folder(self.folder)

    def read(self) -> Task:
        """The task; one whose process has died is "interrupted".

        Raises:
            StorageError: the file is damaged or cannot be read.
        """
        found = self._stored()
        if found.status == "running" and not self.is_running():
            found = self._stored()  # it may have ended after it was read
            if found.status == "running":
                return replace(found, status="interrupted")
        return found

    def _stored(self) -> Task:
        path = self.folder / STATE
        try:
            return Task(**read_json(path, max_bytes=MAX_BYTES))
        except FileNotFoundError:
            return Task()
        except OSError as error:
            raise cannot_read(path, error) from error
        except (TypeError, ValueError) as error:
            raise StorageError(f"{path}: is damaged ({error}); remove it. No recording and no edit is in it") from error

    def write(self, task: Task) -> None:
        """Replaces the state.

        Raises:
            StorageError: it cannot be written.
        """
        write_atomically(self.folder / STATE, json.dumps(asdict(task)).encode(), private=True)

    def is_running(self) -> bool:
        """Whether a process holds the lock."""
        try:
            with self.locked():
                return False
        except BlockedError:
            return True

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Locks the task; yields the file descriptor. A child process that inherits it holds the lock until it ends.

        Waits up to `EXIT_S` for the process of a task that has written its result.

        Raises:
            BlockedError: a task is running.
        """
        descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        end = time.monotonic() + EXIT_S
        try:
            while not _lock(descriptor):
                # A process that has written its result holds the lock until it has ended.
                if self._stored().status == "running" or time.monotonic() > end:
                    raise BlockedError("something else is still running; wait until it has finished, or stop it")
                time.sleep(0.05)
            yield descriptor
        finally:
            os.close(descriptor)

    @property
    def is_to_stop(self) -> bool:
        """Whether the person has asked the task to stop."""
        return (self.folder / STOP).exists()

    def ask_to_stop(self) -> None:
        """Asks the process to stop at its next step."""
        (self.folder / STOP).touch(0o600)

    def forget_stop(self) -> None:
        """Removes the request to stop."""
        (self.folder / STOP).unlink(missing_ok=True)


def is_learning() -> bool:
    """Whether a task of the active profile learns now."""
    found = TaskFiles().read()
    return found.kind == "learn" and found.status == "running"


def _lock(descriptor: int) -> bool:
    """Locks the file if it is free; returns whether this process has the lock now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
