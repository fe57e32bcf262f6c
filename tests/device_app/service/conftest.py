"""A real service on a real socket, with the embedded model."""

import contextlib
import socket
import threading

import httpx2 as httpx
import pytest

from device_app.paths import RECORDINGS
from device_app.service.app import make_app
from device_app.service.http.connections import Connections, listen
from device_app.service.models import Models
from device_app.service.security import Access
from device_app.service.server import Server, make_state, server_config
from device_app.service.wyoming.server import WyomingServer
from tests.conftest import until

SPEECH = RECORDINGS / "ss-noservice.flac"


@contextlib.contextmanager
def running(state, access=None, **tls):
    """Runs a service in a thread; yields its URL, and sets `url`, `wyoming` and `server` of the state."""
    connections, wyoming_connections = Connections(), Connections()
    (listening,) = listen("127.0.0.1", 0, connections)
    wyoming_sockets = listen("127.0.0.1", 0, wyoming_connections)
    config = server_config(make_app(state, access or Access()), connections, state.limits, **tls)
    server = Server(config, state, WyomingServer(state, wyoming_sockets, wyoming_connections))
    state.server = server
    state.url = f"http{'s' if tls else ''}://127.0.0.1:{listening.getsockname()[1]}"
    state.wyoming = f"tcp://127.0.0.1:{wyoming_sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    assert thread.is_alive()
    try:
        yield state.url
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()


@pytest.fixture
def start(transcriber):
    """Starts services; returns the URL and the state of each."""
    with contextlib.ExitStack() as stack:

        def starting(limits=None, access=None, only=None, **tls):
            state = make_state(Models(only=only), limits, 2)
            return stack.enter_context(running(state, access, **tls)), state

        yield starting


@pytest.fixture(scope="module")
def service(transcriber, home):
    """The state of a service that the tests of a module share, and its URL."""
    state = make_state(Models(), threads=2)
    with running(state):
        yield state


@pytest.fixture
def url(service):
    return service.url


@pytest.fixture
def client():
    with httpx.Client(timeout=30) as found:
        yield found


def raw(url, head, body=()):
    """Sends a request by hand; returns the whole answer."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as opened:
        opened.sendall(head.replace("\n", "\r\n").encode())
        with contextlib.suppress(OSError):  # it need not read on
            for part in body:
                opened.sendall(part)
        answer = b""
        with contextlib.suppress(OSError):
            while data := opened.recv(65536):
                answer += data
        return answer.decode()
