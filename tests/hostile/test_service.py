"""The local service under attack: huge and endless bodies, noise without end, pages of other sites."""

import contextlib
import http.server
import json
import resource
import socket
import threading

import numpy as np
import pytest
from websockets.sync.client import connect

from device_app.service.clients import Clients
from device_app.service.limits import Limits
from device_app.service.security import Access
from tests.conftest import until
from tests.device_app.service.conftest import raw

GB = 1 << 30


def test_an_upload_of_5_gb_is_refused_before_it_is_read(url):
    head = (
        f"POST /v1/audio/transcriptions HTTP/1.1\nHost: localhost\nContent-Length: {5 * GB}\n"
        "Content-Type: multipart/form-data; boundary=x\n\n"
    )
    answer = raw(url, head)
    assert answer.startswith("HTTP/1.1 413")
    assert "connection: close" in answer.lower()
    assert '"error"' in answer


def test_an_upload_without_a_length_ends_at_the_limit(start):
    url, _ = start(Limits(upload_bytes=1 << 20))
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    first = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    head = (
        "POST /v1/audio/transcriptions HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n"
        "Content-Type: multipart/form-data; boundary=x\n\n"
    )
    answer = raw(url, head, [b"%x\r\n%s\r\n" % (len(first), first), *[chunk] * 200])
    assert answer == "" or answer.startswith("HTTP/1.1 413")  # or the connection was reset while we sent


def test_a_body_that_pauses_is_refused(start):
    url, _ = start(Limits(body_idle_s=0.2))
    head = (
        "POST /v1/audio/transcriptions HTTP/1.1\nHost: localhost\nContent-Length: 1000\n"
        "Content-Type: multipart/form-data; boundary=x\n\n"
    )
    assert raw(url, head, [b"--x"]).startswith("HTTP/1.1 408")


def test_a_form_with_many_fields_or_files_is_refused(url, client):
    address = f"{url}/v1/audio/transcriptions"
    assert client.post(address, files={"file": b"x"}, data={f"a{n}": "x" for n in range(100)}).status_code == 400
    assert client.post(address, files=[("file", b"x"), ("file", b"y")]).status_code == 400
    assert client.post(address, files={"file": b"x"}, data={"prompt": "x" * (2 << 20)}).status_code == 400


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\r\nSet-Cookie: x=1", "\u202e.wav", "x" * 5000, "a\x1b[31m.wav"]
)
def test_the_name_of_a_file_is_only_a_name(url, client, name):
    answer = client.post(f"{url}/v1/audio/transcriptions", files={"file": (name, b"no audio" * 50)})
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert message.isprintable()
    assert len(message) < 500


def test_tokens_are_needed_for_everything_but_the_health(start, client, tmp_path):
    clients = Clients(tmp_path)
    token = clients.add("phone")
    url, _ = start(access=Access(clients=clients, public=frozenset({"/health"})))
    for path in (
        "/v1/models",
        "/metrics",
        "/openapi.json",
        "/v1/audio/transcriptions",
        "/nothing",
        "/health/../metrics",
    ):
        for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": f"Bearer {token}x"}, {"Cookie": "a=b; ="}):
            assert client.get(f"{url}{path}", headers=headers).status_code == 401, path
    assert token not in (tmp_path / "tokens.json").read_text()
    (tmp_path / "tokens.json").write_text("{")
    assert client.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_noise_without_end_costs_no_memory(url, noise):
    """20 minutes of noise and clicks; the segmenter keeps one segment at most."""
    random = np.random.default_rng(0)
    with connect(f"{url.replace('http', 'ws')}/v1/audio/live?partials=0") as opened:
        opened.recv(20)
        before = None
        for minute in range(20):
            block = (random.standard_normal(16_000 * 15) * 300).astype("<i2")
            for part in np.split(block, 15):
                opened.send(part.tobytes())
            if minute == 3:
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        opened.send(json.dumps({"type": "finish"}))
        while json.loads(opened.recv(60))["type"] != "done":
            pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.parametrize("count", [400])
def test_many_idle_connections_lock_nobody_out(url, client, count):
    host, port = url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
        assert client.get(f"{url}/health").status_code == 200


PAGE = """<script>
const url = "URL", found = {};
async function attempt(name, action) { try { found[name] = await action(); } catch (e) { found[name] = "refused"; } }
function socket(path) { return new Promise((done, fail) => {
  const s = new WebSocket(url.replace("http", "ws") + path);
  s.onmessage = e => done(e.data); s.onerror = s.onclose = () => fail(); }); }
function image(path) { return new Promise((done, fail) => {
  const i = new Image(); i.onload = () => done("loaded"); i.onerror = fail; i.src = url + path; }); }
(async () => {
  const form = new FormData(); form.append("file", new Blob(["x".repeat(2000)]), "a.wav");
  await attempt("read", async () => (await fetch(url + "/v1/models")).text());
  const path = url + "/v1/audio/transcriptions";
  await attempt("post", async () => (await fetch(path, {method: "POST", body: form})).text());
  await attempt("blind", async () => {
    await fetch(path, {method: "POST", mode: "no-cors", body: form}); return "sent"; });
  await attempt("socket", () => socket("/v1/audio/live"));
  await attempt("image", () => image("/v1/models"));
  window.found = found;
})();
</script>"""


@contextlib.contextmanager
def other_site(page):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


@pytest.mark.slow
def test_a_page_of_another_site_can_neither_read_nor_start_anything(start, client):
    _, service = start()
    sync_api = pytest.importorskip("playwright.sync_api")
    work = 'asr_edge_requests_total{method="POST",route="/v1/audio/transcriptions",status='
    with sync_api.sync_playwright() as playwright, other_site(PAGE.replace("URL", service.url)) as site:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        try:
            page = browser.new_page()
            page.goto(site)
            page.wait_for_function("window.found !== undefined", timeout=20_000)
            found = page.evaluate("window.found")
            page.goto(f"{service.url}/v1/models")  # the user's own visit
            assert "asr-edge" in page.content()
        finally:
            browser.close()
    assert found.pop("blind") in ("sent", "refused")  # the browser lets it out; the service does not run it
    assert set(found.values()) == {"refused"}
    until(lambda: service.turns.jobs == 0)
    assert work not in client.get(f"{service.url}/metrics").text
