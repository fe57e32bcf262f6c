"""A real service on a real socket, with a tiny model."""

import contextlib
import shutil
import threading

import httpx2 as httpx
import pytest
import uvicorn

from device_app.service.app import make_app
from device_app.service.http.connections import Connections, listen
from device_app.service.limits import Limits
from device_app.service.models import Models
from device_app.service.security import Access
from device_app.service.server import make_state, server_config
from tests.conftest import until


@pytest.fixture
def service_home(tiny_bundle, tmp_path, monkeypatch):
    """A data folder in which the tiny model is installed."""
    folder = tmp_path / "home"
    shutil.copytree(tiny_bundle.folder, folder / "models" / "tiny")
    monkeypatch.setenv("ASR_EDGE_HOME", str(folder))
    return folder


@contextlib.contextmanager
def running(state, access=None, **tls):
    """Runs a service in a thread; yields its URL."""
    connections = Connections()
    (listening,) = listen("127.0.0.1", 0, connections)
    config = server_config(make_app(state, access or Access()), connections, state.limits, **tls)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    assert thread.is_alive()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()


@pytest.fixture
def serve(service_home):
    """Starts a service with the tiny model; returns its URL."""
    with contextlib.ExitStack() as stack:

        def start(access=None, limits=None, only=None, base="tiny", **tls):
            state = make_state(Models(base, only), limits or Limits(), 2)
            return stack.enter_context(running(state, access, **tls))

        yield start


@pytest.fixture
def client():
    with httpx.Client(timeout=20) as found:
        yield found
