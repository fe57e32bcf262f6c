"""A person uses the page in Chromium: records, corrects, and transcribes."""

import re

from playwright.sync_api import expect

from device_app.data.store import Store
from device_app.paths import RECORDINGS
from tests.conftest import until
from tests.device_app.service.page.conftest import ready


def stored():
    with Store() as store:
        return list(store.utterances())


SILENT = "navigator.mediaDevices.getUserMedia = async () => new AudioContext().createMediaStreamDestination().stream"


def test_a_muted_microphone_is_explained(serve, open_page):
    page = open_page(serve())
    explanation = page.get_by_text("No speech was found. Is this the right microphone")
    page.evaluate(SILENT)
    page.click("#start")
    page.wait_for_selector("#stop:enabled")
    page.wait_for_timeout(1000)
    page.click("#stop")
    expect(explanation).to_be_visible(timeout=60_000)
    page.reload()  # the take was neither kept nor thrown away
    page.get_by_role("button", name="Look at it").click()
    expect(explanation).to_be_visible(timeout=60_000)
    assert stored() == []


def test_a_person_records_corrects_and_transcribes(serve, open_page, tmp_path):
    page = open_page(serve())

    # Record: a sentence is read, checked, and saved with its text.
    sentence = page.locator("#sentence").inner_text()
    page.click("#start")
    page.wait_for_selector("#stop:enabled")
    page.wait_for_timeout(3000)
    page.click("#stop")
    page.click("#keep")
    expect(page.locator("#start")).to_be_visible(timeout=60_000)
    expect(page.locator(".notice.good")).to_have_text("Saved")
    (saved,) = until(stored)
    assert saved.prompt == saved.text == sentence
    assert 1.5 < saved.duration_s < 6
    assert page.locator("#sentence").inner_text() != sentence

    # While the service does not answer, what is kept stays in the browser; it is saved afterwards.
    page.click("#start")
    page.wait_for_selector("#stop:enabled")
    page.wait_for_timeout(1500)
    page.context.set_offline(True)
    page.click("#stop")
    page.click("#keep")
    expect(page.locator("#outbox")).to_contain_text("1 recording or correction waits", timeout=60_000)
    assert len(stored()) == 1
    page.context.set_offline(False)
    expect(page.locator("#outbox")).to_have_text("Everything that you kept is saved.", timeout=60_000)
    assert len(stored()) == 2

    # Correct: what was really said replaces the text.
    ready(page, "correct")
    page.select_option("select", "all")
    page.wait_for_selector("textarea")
    page.fill("textarea", "the number you have dialed is not in service")
    page.keyboard.press("Enter")
    said = "the number you have dialed is not in service"
    until(lambda: [one.source for one in stored() if one.text == said] == ["corrected"])

    # Transcribe: what is said becomes text at once.
    ready(page, "transcribe")
    page.click("#live-start")
    expect(page.locator(".text-box").first).to_contain_text(re.compile(r"\w"), timeout=60_000)
    page.click("#live-start")
    page.wait_for_selector("#live-start:not(.recording)")
    expect(page.locator(".text-box [aria-live]").first).to_contain_text(re.compile(r"\w"), timeout=60_000)

    # Transcribe: a file becomes text and subtitles.
    page.set_input_files("input[type=file]", RECORDINGS / "ss-noservice.flac")
    with page.expect_download() as download:
        page.click("[data-format=srt]")
    assert download.value.suggested_filename == "ss-noservice.srt"
    download.value.save_as(tmp_path / "text.srt")
    assert " --> " in (tmp_path / "text.srt").read_text()
