"""Starts the service if it is not running, and opens the page in the browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path

from device_app.models.bundles import find_bundle
from device_app.paths import data_folder
from device_app.service import ports
from device_app.service.clients import folder_mark, service_folder
from editing.errors import BadInputError, StorageError, one_line
from editing.files import write_atomically
from editing.privacy import make_folder

WAIT_S = 60.0  # in which a service that was started must answer
LOG = "service.log"


def is_serving(url: str, model: str | None = None) -> bool:
    """Whether a service with the data folder of this program answers at a URL.

    Args:
        url: where the service would be, without a path.
        model: the model that it must serve, an installed one or the folder of a bundle; None is any.

    Raises:
        BadInputError: the service has another data folder than this program, or serves another model.
        BundleError: there is no such model.
    """
    import httpx2 as httpx

    try:
        found = httpx.get(f"{url}/health", timeout=2.0, trust_env=False).json()
        if found.get("status") != "ok":
            return False
    except (httpx.HTTPError, ValueError, AttributeError):
        return False
    if found.get("data_folder") != folder_mark(data_folder()):
        raise BadInputError(
            f"the service at {url} has another data folder than {data_folder()}, so its page would show other "
            "recordings; end that service, or open another one with 'asr-edge open --port N'"
        )
    if model is not None and found.get("model") != folder_mark(find_bundle(model).folder):
        raise BadInputError(
            f"the service at {url} serves another model than {model}; end that service, or open another one with "
            "'asr-edge open --port N'"
        )
    return True


def start_service(port: int, model: str | None, report: Callable[[str], None]) -> str:
    """Starts the service on loopback unless it is running; returns the URL of the page.

    The service goes on when this program ends.

    Args:
        port: the port of the service.
        model: an installed model or the folder of a bundle; None is the embedded one.
        report: called with a sentence for the user on each thing that is done.

    Raises:
        BadInputError: the running one has another data folder or another model.
        BundleError: there is no such model.
        StorageError: the service did not start; the message names its log.
    """
    url = f"http://127.0.0.1:{port}"
    folder = service_folder()
    if is_serving(url, model):
        if (process_id := _started(folder, port)) is not None:
            report(f"The service is running already; 'kill {process_id}' ends it.")
        return url
    report("Starting the service ...")
    make_folder(folder)
    log = folder / LOG
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - this program itself
            [
                sys.executable,
                "-m",
                "device_app",
                "serve",
                "--port",
                str(port),
                *([] if model is None else ["--model", model]),
                *([] if _is_free(ports.WYOMING) else ["--wyoming-port", "0"]),  # another program speaks Wyoming here
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(os.environ),
            start_new_session=True,
        )
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and process.poll() is None:
        if is_serving(url):
            process.returncode = 0  # it is to go on; Popen would warn that it was not waited for
            write_atomically(_process_file(folder, port), str(process.pid).encode(), private=True)
            report(f"It goes on when this terminal is closed; 'kill {process.pid}' ends it.")
            return url
        time.sleep(0.1)
    raise StorageError(f"the service did not start: {_last_line(log)} ({log})")


def _process_file(folder: Path, port: int) -> Path:
    return folder / f"service-{port}.pid"


def _started(folder: Path, port: int) -> int | None:
    """The id of the process that `start_service` started for a port; None if there was none, or if it has ended."""
    try:
        process_id = int(_process_file(folder, port).read_text("ascii"))
        os.kill(process_id, 0)  # sends no signal, but fails if there is no such process
    except (OSError, ValueError, OverflowError):
        return None
    return process_id if _is_service(process_id, port) else None


def _is_service(process_id: int, port: int) -> bool:
    """Whether a process is the service of a port: its id may since have been given to another program."""
    try:
        command = Path(f"/proc/{process_id}/cmdline").read_bytes().split(b"\0")
    except OSError:  # there is no /proc on this system
        return True
    return b"serve" in command and str(port).encode() in command


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines() or ["it wrote no message"]
    return one_line(lines[-1].removeprefix("asr-edge: "))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def open_browser(url: str) -> bool:
    """Opens a URL in the person's browser; returns whether there is one."""
    return webbrowser.open(url)
