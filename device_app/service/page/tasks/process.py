"""Starts and stops the process of a task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from device_app.paths import PROFILE_VARIABLE, active_profile
from device_app.service.page.tasks.state import Kind, Task, TaskFiles

LOG = "task.log"


def start(kind: Kind, arguments: Mapping[str, Any], model: str | None) -> Task:
    """Starts a task for the active profile, in a process that does not end with this one.

    Args:
        kind: what to do.
        arguments: the arguments of the work.
        model: an installed model or the folder of a bundle; None is the embedded one.

    Raises:
        BlockedError: another task is running.
        StorageError: the data folder cannot be written.
    """
    files = TaskFiles()
    with files.locked() as lock:
        task = Task(kind, arguments, "running")
        files.forget_stop()
        files.write(task)
        _launch(files, lock, model)
    return task


def _launch(files: TaskFiles, lock: int, model: str | None) -> None:
    """Starts the process, which inherits the file descriptor `lock` and by it holds the lock."""
    with (files.folder / LOG).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, "-m", "device_app.service.page.tasks.work", json.dumps(model)],
            env={**os.environ, PROFILE_VARIABLE: active_profile()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock],
            start_new_session=True,  # Ctrl-C at the service does not reach it
        )
    threading.Thread(target=process.wait, name="asr-edge-task", daemon=True).start()  # leaves no zombie


def stop() -> Task:
    """Asks the task to stop; a fine-tuning continues later from its checkpoint. Returns the task."""
    files = TaskFiles()
    task = files.read()
    if task.status == "running":
        files.ask_to_stop()
    return task


def dismiss() -> Task:
    """Forgets the result of the last task.

    Raises:
        BlockedError: the task is still running.
        StorageError: the data folder cannot be written.
    """
    files = TaskFiles()
    with files.locked():
        files.write(Task())
    return Task()
