"""`asr-edge open` starts the service once, and opens the page."""

import os
import socket
import subprocess

import pytest

from device_app.service.page import opening
from editing.errors import StorageError
from tests.command_line import call


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def started(monkeypatch):
    """The processes that were started; they are killed at the end."""
    processes = []
    popen = subprocess.Popen

    def start(*arguments, **options):
        processes.append(popen(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr(opening.subprocess, "Popen", start)
    yield processes
    for process in processes:
        process.returncode = None
        process.kill()
        process.wait()


def test_open_starts_the_service_and_then_finds_it(service_home, port, started, monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr(opening.webbrowser, "open", lambda url: opened.append(url) or True)
    assert not opening.is_serving(f"http://127.0.0.1:{port}")
    for said in ("goes on when this terminal is closed", "is running already"):
        done = call("open", "--port", port, "--model", "tiny")
        assert done.stdout == f"http://127.0.0.1:{port}\n"
        assert said in done.stderr
        assert f"'kill {started[0].pid}' ends it" in done.stderr
    assert opened == [f"http://127.0.0.1:{port}"] * 2
    assert len(started) == 1
    assert "serves another model than embedded" in call("open", "--port", port, "--model", "embedded", code=1).stderr
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path))
    line = call("open", "--port", port, code=1).stderr
    assert line.startswith(f"asr-edge: the service at http://127.0.0.1:{port} has another data folder than {tmp_path}")
    assert "asr-edge open --port N" in line
    assert len(opened) == 2


def test_a_process_that_has_the_number_of_an_earlier_service_is_not_named(tmp_path):
    opening._process_file(tmp_path, 8765).write_text(str(os.getpid()))
    assert opening._started(tmp_path, 8765) is None


@pytest.mark.slow
def test_a_service_that_cannot_start_is_an_error_that_names_its_log(service_home, port, started):
    with pytest.raises(StorageError, match=r"service\.log"):
        opening.start_service(port, "no-such-model", print)
    assert "no-such-model" in (service_home / "service" / opening.LOG).read_text()


def test_without_a_browser_the_address_is_printed(service_home, port, monkeypatch):
    monkeypatch.setattr(opening, "start_service", lambda port, _model, _report: f"http://127.0.0.1:{port}")
    monkeypatch.setattr(opening.webbrowser, "open", lambda _url: pytest.fail("opened"))
    assert call("open", "--no-browser", "--port", port).stdout.endswith(f":{port}\n")
