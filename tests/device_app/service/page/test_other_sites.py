"""A page of another site in the same browser can neither read the service nor start anything in it."""

import http.server
import threading
from functools import partial

import pytest

from device_app.data.store import Store
from device_app.service.page.tasks.state import TaskFiles

# Every way in which a page can send something, and what it got: "" if nothing.
ATTACKS = """async ({url, header}) => {
  const socket = new URL('/v1/audio/live', url);
  socket.protocol = 'ws:';
  const attempt = async (work) => { try { return await work() ?? ''; } catch { return ''; } };
  const body = async (response) => response.type === 'opaque' ? '' : `${response.status} ${await response.text()}`;
  const loaded = (tag, set) => new Promise((resolve) => {
    const element = document.createElement(tag);
    set(element);
    const seen = () => (tag === 'iframe' ? attempt(() => element.contentDocument.body.innerText) : `${tag} loaded`);
    element.onload = () => resolve(seen());
    element.onerror = () => resolve('');
    document.body.append(element);
    setTimeout(() => resolve(''), 1500);
  });
  const form = (path, type) => loaded('iframe', (frame) => {
    frame.name = path;
    const sent = document.createElement('form');
    Object.assign(sent, {method: 'post', action: url + path, enctype: type, target: path});
    sent.innerHTML = '<input name=\\'{"texts": ["stolen"], "x": "\\' value=\\'"}\\'>';
    document.body.append(sent);
    setTimeout(() => sent.submit(), 50);
  });
  const json = {method: 'POST', headers: {'Content-Type': 'application/json', ...header},
    body: '{"text": "stolen", "texts": ["stolen"]}'};
  const works = {
    read: () => fetch(url + '/page/api/words', {headers: header}).then(body),
    blind: () => fetch(url + '/page/api/words', {mode: 'no-cors'}).then(body),
    page: () => fetch(url + '/').then(body),
    add: () => fetch(url + '/page/api/words/terms', json).then(body),
    addBlind: () => fetch(url + '/page/api/words/terms', {method: 'POST', mode: 'no-cors', body: json.body}).then(body),
    learn: () => fetch(url + '/page/api/learning', {...json, body: '{}'}).then(body),
    take: () => fetch(url + '/page/api/takes', {method: 'POST', headers: header, body: 'x'}).then(body),
    change: () => fetch(url + '/page/api/utterances/1', {...json, method: 'PUT'}).then(body),
    remove: () => fetch(url + '/page/api/utterances/1', {method: 'DELETE', headers: header}).then(body),
    beacon: () => { navigator.sendBeacon(url + '/page/api/words/terms', json.body); return ''; },
    plainForm: () => form('/page/api/words/terms', 'text/plain'),
    file: () => form('/page/api/transcribe', 'multipart/form-data'),
    script: () => loaded('script', (element) => { element.src = url + '/page/static/js/app.js'; }),
    image: () => loaded('img', (element) => { element.src = url + '/page/static/icon.svg'; }),
    sound: () => loaded('audio', (element) => { element.src = url + '/page/api/utterances/1/audio'; }),
    frame: () => loaded('iframe', (element) => { element.src = url; }),
    socket: () => new Promise((resolve) => {
      const opened = new WebSocket(socket);
      opened.onmessage = (event) => resolve(event.data);
      opened.onerror = opened.onclose = () => resolve('');
    }),
  };
  const found = {};
  for (const [name, work] of Object.entries(works)) found[name] = await attempt(work);
  return found;
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def other_site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html><title>another site</title><body>")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_of_another_site_reads_nothing_and_starts_nothing(serve, chromium, other_site, service_home):
    url = serve()
    context = chromium.new_context()
    page = context.new_page()
    for host in ("localhost", "127.0.0.1"):  # another site, and another origin of the same site
        page.goto(f"http://{host}:{other_site}/")
        found = page.evaluate(ATTACKS, {"url": url, "header": {"X-Asr-Edge-Model": "asr-edge"}})
        assert set(found.values()) == {""}, found
    assert not (service_home / "terms.json").exists()
    assert TaskFiles().read().status == "none"
    with Store() as store:
        assert list(store.utterances()) == []

    page.goto(url)  # the same requests of the page itself succeed
    own = page.evaluate(ATTACKS, {"url": url, "header": {"X-Asr-Edge-Model": "asr-edge"}})
    assert own["read"].startswith("200")
    assert own["add"].startswith("200")
    assert own["addBlind"].startswith("403")
    assert "ready" in own["socket"]
    context.close()
