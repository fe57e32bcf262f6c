"""A real host on a real socket, with a model so small that fine-tuning takes seconds."""

import contextlib
import shutil
import socket
import threading

import httpx2 as httpx
import pytest
import uvicorn

from device_app.adaptation.settings import AdaptationSettings
from device_app.adaptation.training_set import TrainingSet
from device_app.audio.samples import encode, read
from device_app.data.utterance import Utterance
from device_app.paths import RECORDINGS
from device_app.remote.jobs import pack_job
from device_app.remote.trusted_hosts import Host
from device_app.service.http.connections import Connections, listen
from editing.task_vector import Origin
from tests.conftest import until
from trainer.executors import LocalExecutor
from trainer.host.api import make_api
from trainer.host.auth import HostState
from trainer.host.database import Database
from trainer.host.jobs import Jobs
from trainer.host.keys import make_keys
from trainer.host.limits import Limits
from trainer.host.server import Address, server_config


class Idle(LocalExecutor):
    """An executor that starts nothing: jobs stay in the queue."""

    slots = 0


@pytest.fixture
def host_home(tiny_bundle, tmp_path, monkeypatch):
    """A data folder in which the tiny model is installed."""
    folder = tmp_path / "home"
    shutil.copytree(tiny_bundle.folder, folder / "models" / "tiny")
    monkeypatch.setenv("ASR_EDGE_HOME", str(folder))
    return folder


@pytest.fixture
def keys(host_home):
    return make_keys(host_home / "host", ["localhost", "127.0.0.1"])


@pytest.fixture
def database(host_home):
    return Database(host_home / "host" / "host.sqlite")


@pytest.fixture
def make_jobs(host_home, database, keys):
    """Creates the jobs of a host, and stops them after the test."""
    with contextlib.ExitStack() as stack:

        def make(executor=None, limits=None, keep=False):
            jobs = Jobs(host_home / "host", database, keys, executor or Idle(), limits or Limits(), keep=keep)
            stack.callback(jobs.stop)
            return jobs

        yield make


@pytest.fixture
def serve(make_jobs, keys, host_home):
    """Starts a server; returns its URL."""
    with contextlib.ExitStack() as stack:

        def start(executor=None, limits=None, *, allows_anonymous=False, connections=None, proxies=(), **tls):
            api = make_api(HostState(make_jobs(executor, limits), keys, host_home / "host", allows_anonymous))
            connections = Connections() if connections is None else connections
            config = server_config(api, Address(proxies=proxies), connections, **tls)
            return stack.enter_context(running(config, listen("127.0.0.1", 0, connections)))

        yield start


@contextlib.contextmanager
def running(config, sockets=None):
    (listening,) = sockets or [socket.create_server(("127.0.0.1", 0))]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        scheme = "https" if config.is_ssl else "http"
        yield f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(15)
        listening.close()


@pytest.fixture
def client_of(database):
    """Creates an HTTP client of a new device, with its own token."""
    with contextlib.ExitStack() as stack:

        def make(url, name="phone", fleet=""):
            token = database.add_device(name, fleet)
            headers = {"Authorization": f"Bearer {token}"}
            return stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=20.0))

        yield make


@pytest.fixture
def training_set(tiny_bundle, tmp_path):
    """Three training utterances and a held-out one, in the tiny model's letters."""
    audio = read(RECORDINGS / "ss-noservice.flac")
    labelled = []
    for number, text in enumerate(("zero one", "two three four", "five six", "seven")):
        path = tmp_path / f"{number}.flac"
        path.write_bytes(encode(audio[number * 16_000 : (number + 2) * 16_000]))
        labelled.append(Utterance(audio=path, text=text))
    origin = Origin(tiny_bundle.family, tiny_bundle.weights_hash, "phone", utterances=3)
    return TrainingSet(tiny_bundle, labelled[:3], labelled[3:], origin)


@pytest.fixture
def packed(training_set, host_home):
    """A job for the tiny model, as a device sends it."""

    def pack(url="http://127.0.0.1:1", domain="phone", **settings):
        settings = {"epochs": 2, "scope": "all", "augment": False, "seed": 3, **settings}
        return pack_job(training_set, AdaptationSettings(domain), url, "tiny", settings)

    return pack


@pytest.fixture
def trusted(database, keys):
    """A host that a device trusts."""
    return lambda url, name="phone": Host(url, keys.public_key, keys.authority, database.add_device(name, "crew"))
