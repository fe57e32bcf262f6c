"""Real Chromium with a recording as its microphone, at a real service with a tiny model."""

import contextvars
import lzma
import os
import shutil
import threading
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import soxr

from device_app.audio.samples import SAMPLE_RATE
from device_app.models.bundles import find_bundle
from device_app.recognition.transcriber import Transcriber
from device_app.service.models import Models
from device_app.service.page.tasks import process, work
from device_app.service.server import make_state
from tests.conftest import built_once, write_audio
from tests.device_app.cli.conftest import (  # noqa: F401
    adapted_home,
    home_adapted,
    home_of_tiny,
    known_home,
    spelled,
    teacher,
    trained_bundle,
)
from tests.device_app.service.conftest import running

CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)
HEADER = {"X-Asr-Edge-Model": "asr-edge"}
AXE = Path(__file__).parent / "vendored" / "axe-core" / "axe.min.js.xz"


def need_chromium():
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (Debian: chromium)")


@pytest.fixture(scope="session")
def baked_home(tiny_bundle, tmp_path_factory):
    """A data folder in which the tiny model is installed and baked."""

    def build(folder):
        shutil.copytree(tiny_bundle.folder, folder / "models" / "tiny")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ASR_EDGE_HOME", str(folder))
            Transcriber(find_bundle("tiny"))

    return built_once(tmp_path_factory, "page-home", build)


@pytest.fixture
def service_home(baked_home, tmp_path, monkeypatch):
    folder = tmp_path / "home"
    shutil.copytree(baked_home, folder)
    monkeypatch.setenv("ASR_EDGE_HOME", str(folder))
    return folder


@pytest.fixture
def serve(service_home):
    """Starts a service with the tiny model; returns its URL."""
    with ExitStack() as stack:

        def start(access=None, **tls):
            return stack.enter_context(running(make_state(Models("tiny"), threads=2), access, **tls))

        yield start


@pytest.fixture(scope="session")
def spoken(tmp_path_factory, prompt):
    """The file that Chromium's microphone plays again and again: a sentence, and a pause."""
    audio = soxr.resample(np.pad(prompt, (SAMPLE_RATE // 2, SAMPLE_RATE // 2)), SAMPLE_RATE, 48_000)
    return write_audio(tmp_path_factory.mktemp("spoken") / "microphone.wav", audio, 48_000, subtype="PCM_16")


@pytest.fixture(scope="module")
def chromium(spoken):
    need_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = [*ARGUMENTS, f"--use-file-for-fake-audio-capture={spoken}"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Opens a page of the service; at the end, nothing may have gone wrong in it, and nothing have left the machine."""
    problems = []
    with ExitStack() as stack:

        def start(url, *, permissions=("microphone", "clipboard-read", "clipboard-write"), **options):
            context = chromium.new_context(permissions=list(permissions), **options)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(60_000)
            page.on("pageerror", lambda error: problems.append(f"error: {error}"))
            page.on("console", lambda said: problems.append(said.text) if is_error(said) else None)
            page.on("request", lambda sent: None if is_own(sent.url, url) else problems.append(f"request: {sent.url}"))
            page.goto(url)
            page.wait_for_selector("[data-ready]")
            return page

        yield start
    assert not problems


def is_error(said):
    """Whether a message of the browser is an error, other than one of a test that goes offline."""
    return said.type == "error" and "ERR_INTERNET_DISCONNECTED" not in said.text


def is_own(url, service):
    return url.startswith((service.partition("#")[0].rstrip("/"), "blob:", "data:"))


def ready(page, view):
    """Goes to a view, and waits until it is shown."""
    page.evaluate("name => { location.hash = name; }", view)
    page.wait_for_selector(f"[data-view={view}][data-ready]")


def violations(page):
    """What axe-core finds: the rules that are violated, and where."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(lzma.decompress(AXE.read_bytes()).decode())
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]]


@pytest.fixture
def tasks_in_threads(monkeypatch):
    """Runs tasks in this process, which has the stand-in for fine-tuning and the small guard set."""
    threads = []

    def launch(files, lock, model):
        held = os.dup(lock)

        def run():
            try:
                work.run(files, model)
            finally:
                os.close(held)

        threads.append(threading.Thread(target=contextvars.copy_context().run, args=(run,)))
        threads[-1].start()

    monkeypatch.setattr(process, "_launch", launch)
    yield
    for thread in threads:
        thread.join(30)
