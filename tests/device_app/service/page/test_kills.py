"""Kills the browser and the service (kill -9) while somebody records and corrects: nothing that was kept is lost."""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from device_app.data.store import Store
from device_app.service.page.opening import is_serving
from editing.files import sha256
from tests.conftest import until, write_audio
from tests.device_app.service.page.conftest import ARGUMENTS, CHROMIUM, need_chromium

MOMENTS = 30
NOTE = "window.addEventListener('asr-edge:outbox', () => window.noted())"


class Desk:
    """A service and a browser with a profile of its own, both of which can be killed and started again.

    Attributes:
        notes: how often the page has said that its outbox has changed.
        confirmed: what the service has confirmed: the text of each utterance by its number.
    """

    def __init__(self, playwright, folder, spoken):
        self.playwright, self.folder, self.spoken = playwright, folder, spoken
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.service = self.context = None
        self.notes = 0
        self.opened = 0
        self.confirmed = {}

    def start_service(self):
        if self.service is not None and self.service.poll() is None:
            return
        command = [sys.executable, "-m", "device_app", "serve", "--model", "tiny", "--port", str(self.port)]
        self.service = subprocess.Popen([*command, "--wyoming-port", "0"], start_new_session=True)
        until(lambda: is_serving(self.url), 60)

    def microphone(self):
        """The sentence with noise of its own: the service stores two identical takes as one."""
        self.opened += 1
        speech, rate = soundfile.read(self.spoken, dtype="float32")
        noise = np.random.default_rng(self.opened).normal(scale=0.003, size=len(speech))
        return write_audio(self.folder.parent / "microphone.wav", speech + noise, rate, subtype="PCM_16")

    def open_browser(self):
        self.context = self.playwright.chromium.launch_persistent_context(
            self.folder,
            executable_path=CHROMIUM,
            args=[*ARGUMENTS, f"--use-file-for-fake-audio-capture={self.microphone()}"],
            permissions=["microphone"],
        )
        page = self.context.pages[0]
        page.set_default_timeout(15_000)
        page.expose_binding("noted", lambda _source: setattr(self, "notes", self.notes + 1))
        page.add_init_script(NOTE)
        page.on("response", self._heard)
        page.goto(self.url)
        page.wait_for_selector("[data-ready]")
        return page

    def _heard(self, response):
        method, path = response.request.method, response.url.partition("/page/api")[2]
        if response.status == 200 and (
            (method == "POST" and re.match(r"/takes\?", path)) or (method == "PUT" and path.startswith("/utterances/"))
        ):
            record = response.json()
            record = record.get("utterance", record)
            self.confirmed[record["id"]] = record["text"]

    def kill_service(self):
        self.service.kill()
        self.service.wait()

    def kill_browser(self):
        """Kills all processes of this browser, which are known by its profile."""
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and str(self.folder).encode() in (folder / "cmdline").read_bytes():
                    os.kill(int(folder.name), signal.SIGKILL)
            except (OSError, ProcessLookupError):
                pass

    def close(self):
        self.kill_browser()
        if self.service is not None:
            self.kill_service()


@pytest.fixture
def desk(service_home, spoken, tmp_path):
    need_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        desk = Desk(playwright, tmp_path / "browser", spoken)
        yield desk
        desk.close()


def texts():
    with Store() as store:
        return {one.number: one.text for one in store.utterances()}


def changed(found, confirmed):
    """The texts found instead of confirmed ones; None stands for an utterance that is missing."""
    return {found.get(number) for number, text in confirmed.items() if found.get(number) != text}


def record(page, seconds):
    page.click("#start")
    page.wait_for_selector("#stop:enabled")
    time.sleep(seconds)


def saved_everything(page):
    page.wait_for_selector("#outbox:text-is('Everything that you kept is saved.')", timeout=60_000)


@pytest.mark.slow
def test_a_take_survives_the_end_of_the_browser_while_it_is_recorded(desk):
    from playwright.sync_api import Error

    desk.start_service()
    record(desk.open_browser(), 3.0)
    desk.kill_browser()
    with contextlib.suppress(Error):
        desk.context.close()
    page = desk.open_browser()
    page.get_by_role("button", name="Look at it").click()
    page.click("#keep")
    page.wait_for_selector("#start")
    with Store() as store:
        (saved,) = until(lambda: list(store.utterances()))
        assert saved.duration_s > 1.5


@pytest.mark.slow
def test_nothing_that_was_kept_is_lost(desk):
    from playwright.sync_api import Error

    chance = random.Random(32)
    kept = 0  # takes that the page had in its database as kept
    what = "nothing"
    sent = ""  # the last correction, which may be stored without a confirmation
    for moment in range(MOMENTS):
        desk.start_service()
        page = desk.open_browser()
        saved_everything(page)
        found, after = texts(), f"at moment {moment}, after a kill of: {what}"
        assert len(found) >= kept, after
        assert changed(found, desk.confirmed) <= {sent}, after
        what = chance.choice(["browser", "service", "both"])
        kill = {"browser": desk.kill_browser, "service": desk.kill_service}.get(what)
        timer = threading.Timer(chance.uniform(0.0, 7.0), kill or (lambda: (desk.kill_service(), desk.kill_browser())))
        timer.start()
        try:
            record(page, chance.uniform(0.5, 1.5))
            page.click("#stop")
            page.wait_for_selector("#keep:enabled")
            before, stored = desk.notes, len(texts())
            page.click("#keep")
            until(lambda page=page, before=before: page.wait_for_timeout(5) or desk.notes > before, 5)
            kept = max(kept, stored + 1)
            page.evaluate("location.hash = 'correct'")
            page.select_option("select", "all")
            sent = f"corrected at moment {moment}"
            page.fill("textarea", sent)
            page.keyboard.press("Enter")
            page.wait_for_timeout(1500)
        except (Error, AssertionError):  # the browser is dead, or the service does not answer
            pass
        timer.join()
        desk.kill_browser()
        with contextlib.suppress(Error):
            desk.context.close()
    desk.start_service()
    saved_everything(desk.open_browser())
    assert len(texts()) >= kept
    assert changed(texts(), desk.confirmed) <= {sent}
    assert len(desk.confirmed) > MOMENTS / 4
    with Store() as store:
        assert store.damage() == []
        assert all(sha256(one.audio) == one.sha256 for one in store.utterances())
