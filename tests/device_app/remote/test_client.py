"""The client of a host, where something else answers; with a real host it is tested in tests/trainer/host."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from device_app.remote import client as client_module
from device_app.remote.client import HostClient
from device_app.remote.trusted_hosts import Host
from editing.errors import BadInputError

DEEP = b"[" * 100_000 + b"]" * 100_000


class Other(BaseHTTPRequestHandler):
    """A server that answers each request with its attribute `body`."""

    body = b""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def do_POST(self):
        # A connection that is closed before its request was read is reset, and the client may never see the answer.
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


@pytest.mark.parametrize(
    "body", [b"<html>Sign in</html>", b"[]", b"\xff", b"data: x\n", DEEP, b"data: " + DEEP + b"\n"]
)
def test_the_page_of_another_server_is_an_error(server, monkeypatch, body):
    monkeypatch.setattr(Other, "body", body)
    with HostClient(Host(f"http://127.0.0.1:{server.server_port}", "key"), retry_s=1.0) as client:
        for call in (
            lambda: client.create({"key": "a"}),
            lambda: client.job("a"),
            client.jobs,
            lambda: next(client.follow("a")),
        ):
            with pytest.raises(BadInputError, match=r"127\.0\.0\.1: is not a host of asr-edge"):
                call()


class LosesConnections(Other):
    """Takes some bytes of each upload, slowly, and then closes the connection; `received` counts them."""

    received, total = 0, 100 << 10

    def do_GET(self):
        state = {"state": "uploading" if self.received < self.total else "queued", "received": self.received}
        self.body = json.dumps(state).encode()
        super().do_GET()

    def do_PATCH(self):
        size = min(40 << 10, self.total - self.received)
        self.rfile.read(size)
        type(self).received += size
        self.close_connection = True


def test_a_slow_upload_goes_on_after_lost_connections_although_it_takes_longer_than_the_time_for_retrying(
    server, monkeypatch, tmp_path
):
    """Regression: the time was counted from the start of the upload, so the first lost connection ended it."""
    monkeypatch.setattr(client_module, "CHUNK", 10 << 10)
    monkeypatch.setattr(client_module, "MAX_PAUSE_S", 0.05)
    server.RequestHandlerClass = LosesConnections
    archive = tmp_path / "dataset.tar"
    archive.write_bytes(bytes(LosesConnections.total))
    with HostClient(Host(f"http://127.0.0.1:{server.server_port}", "key"), retry_s=1.0) as client:
        assert client.upload("a", archive, lambda _sent: time.sleep(0.3))["state"] == "queued"
