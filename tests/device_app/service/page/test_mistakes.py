"""What happens to a person who never used such a page: another view, a wrong file, a stopped program, a blank field."""

import base64
import re

import pytest
from playwright.sync_api import expect

from device_app.data.store import Store
from device_app.data.terms import stored_terms
from device_app.paths import RECORDINGS
from tests.conftest import until
from tests.device_app.service.page.conftest import HEADER, ready
from tests.device_app.service.page.test_api import wav

expect.set_options(timeout=60_000)  # milliseconds, for a machine that is busy

NOT_RUNNING = "The program on your computer is not running."
# A file is dropped on the line at the bottom of the page, beside the place for it.
DROP_BESIDE = """() => ['dragover', 'drop'].map((type) => {
  const carried = new DataTransfer();
  carried.items.add(new File(['milk, bread'], 'shopping.txt'));
  const event = new DragEvent(type, { dataTransfer: carried, bubbles: true, cancelable: true });
  document.querySelector('footer').dispatchEvent(event);
  return event.defaultPrevented;
})"""
REFUSE_CLIPBOARD = (
    "() => { navigator.clipboard.writeText = async () => { throw new DOMException('', 'NotAllowedError'); }; }"
)
REFUSE_MICROPHONE = (
    "() => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError'); }; }"
)


@pytest.fixture
def three_unsure(serve, client, prompt):
    """A service with three recordings of which the model was not sure; its URL."""
    url = serve()
    for size in (0.4, 0.6, 0.8):
        headers = {**HEADER, "Content-Type": "audio/wav"}
        params = {"prompt": "these are comfortable", "text": "these are comfortable"}
        client.post(
            f"{url}/page/api/takes", headers=headers, params=params, content=wav(prompt * size)
        ).raise_for_status()
    with Store() as store:
        for utterance in list(store.utterances()):
            store.set_hypothesis(utterance.number, "the two are comfortable", 0.4)
    return url


@pytest.mark.parametrize("shown", ["unsure", "all"])
def test_save_goes_on_and_says_so(three_unsure, open_page, shown):
    page = open_page(f"{three_unsure}#correct")
    page.select_option("select", shown)
    for place in ["1 of 3", "1 of 2", "1 of 1"] if shown == "unsure" else ["1 of 3", "2 of 3", "3 of 3"]:
        expect(page.locator("form")).to_contain_text(f"Recording {place}")
        page.fill("textarea", "These Zaubernuss are comfortable")
        page.get_by_role("button", name="Save and go on").click()
        expect(page.locator(".notice.good")).to_contain_text("Saved.")
        if "1 of 3" in place:
            expect(page.locator(".notice.good")).to_contain_text("New in your Words: Zaubernuss")
            link = page.locator(".notice.good").get_by_role("link", name="Go to Words")
            expect(link).to_have_attribute("href", "#words")
    expect(page.locator("main")).to_contain_text("was not sure." if shown == "unsure" else "the last recording")


def test_another_choice_in_correct_begins_with_its_first_recording(three_unsure, open_page):
    page = open_page(f"{three_unsure}#correct")
    page.get_by_role("button", name="Next").click()
    expect(page.locator("form")).to_contain_text("Recording 2 of 3")
    page.select_option("select", "all")
    expect(page.locator("form")).to_contain_text("Recording 1 of 3")


def test_texts_stay_until_they_are_cleared(serve, open_page):
    page = open_page(f"{serve()}#transcribe")
    live = page.locator(".text-box [aria-live]").first
    page.click("#live-start")
    expect(page.locator(".text-box").first).to_contain_text(re.compile(r"\w"), timeout=60_000)
    page.set_input_files("input[type=file]", RECORDINGS / "ss-noservice.flac")
    ready(page, "words")  # while the file is transcribed
    ready(page, "transcribe")
    saving = page.locator("[data-format=srt]")
    expect(saving).to_be_visible()
    page.wait_for_selector("#live-start:not(.recording)")  # the microphone was closed when the person left
    expect(live).to_contain_text(re.compile(r"\w"), timeout=60_000)
    said = live.inner_text()
    page.reload()
    expect(live).to_have_text(said)
    with page.expect_download() as download:
        saving.click()
    assert " --> " in download.value.path().read_text()

    page.evaluate(REFUSE_CLIPBOARD)
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("alert").filter(has_text="does not let this page copy")).to_be_visible()
    assert page.evaluate("getSelection().toString()").strip() == said

    page.get_by_role("button", name="Clear").first.click()
    page.get_by_role("button", name="Clear ss-noservice.flac").click()
    page.reload()
    page.wait_for_selector("[data-view=transcribe][data-ready]")
    expect(live).to_have_text("")
    expect(saving).to_have_count(0)


def test_a_file_that_is_dropped_beside_its_place_does_not_replace_the_page(serve, open_page):
    page = open_page(serve())
    assert page.evaluate(DROP_BESIDE) == [True, True]
    ready(page, "transcribe")
    page.evaluate(DROP_BESIDE)
    row = page.locator("li").filter(has_text="shopping.txt")
    expect(row).to_contain_text("The program found no sound in this file.")
    expect(row.get_by_role("button")).to_have_count(1)  # Clear: there is nothing to save, or to try again


DROP_THREE = """(recording) => {
  const carried = new DataTransfer();
  const bytes = Uint8Array.from(atob(recording), (letter) => letter.charCodeAt(0));
  for (const name of ['c.flac', 'a.txt', 'b.flac']) {
    carried.items.add(new File([name.endsWith('.txt') ? 'milk' : bytes], name));
  }
  document.querySelector('main').dispatchEvent(new DragEvent('drop', { dataTransfer: carried, bubbles: true }));
}"""


def test_several_files_keep_their_order_and_each_says_how_it_is(serve, open_page):
    page = open_page(f"{serve()}#transcribe")
    recording = (RECORDINGS / "ss-noservice.flac").read_bytes()
    page.evaluate(DROP_THREE, base64.b64encode(recording).decode())
    rows = page.locator(".list > li")
    expect(rows.locator("h3")).to_have_text(["c.flac", "a.txt", "b.flac"])
    expect(rows.locator(".tag")).to_have_text(["Done", "Not done", "Done"])
    page.set_input_files("input[type=file]", [])
    page.reload()
    page.wait_for_selector("[data-view=transcribe][data-ready]")
    expect(rows.locator("h3")).to_have_text(["c.flac", "a.txt", "b.flac"])
    with page.expect_download() as download:
        page.get_by_role("button", name="Save all texts in one file").click()
    saved = download.value.path().read_text()
    assert 0 == saved.index("c.flac\n\n") < saved.index("b.flac\n\n")
    assert "a.txt" not in saved
    page.get_by_role("button", name="Clear c.flac").click()
    expect(page.get_by_role("button", name="Save all texts")).to_be_hidden()


HANG = "() => { const send = fetch; window.fetch = (path, ...more) => path.endsWith('/transcribe') ? new Promise((_, no) => more[0].signal.addEventListener('abort', () => no(new DOMException('', 'AbortError')))) : send(path, ...more); }"  # noqa: E501 - JavaScript


def test_a_file_that_waits_says_for_how_many_and_can_be_stopped(serve, open_page):
    page = open_page(f"{serve()}#transcribe")
    page.evaluate(HANG)
    page.evaluate(DROP_THREE, "")
    rows = page.locator(".list > li")
    expect(rows.locator(".tag")).to_have_text(["In work", "Waiting", "Waiting"])
    expect(rows.nth(1)).to_contain_text("Waiting for its turn: 1 file comes first.")
    expect(rows.nth(2)).to_contain_text("Waiting for its turn: 2 files come first.")
    page.get_by_role("button", name="Stop a.txt").click()
    expect(rows.locator(".tag")).to_have_text(["In work", "Stopped", "Waiting"])
    expect(rows.nth(2)).to_contain_text("1 file comes first.")
    page.get_by_role("button", name="Stop c.flac").click()
    expect(rows.locator(".tag")).to_have_text(["Stopped", "Stopped", "In work"])
    page.get_by_role("button", name="Stop b.flac").click()
    expect(rows.locator(".tag")).to_have_text(["Stopped", "Stopped", "Stopped"])


def test_damage_is_told_in_minutes_and_seconds(serve, open_page, tmp_path):
    page = open_page(f"{serve()}#transcribe")
    content = (RECORDINGS / "ss-noservice.flac").read_bytes()
    damaged = tmp_path / "damaged.flac"
    damaged.write_bytes(content[: len(content) // 2])
    page.set_input_files("input[type=file]", damaged)
    notice = page.locator("li .notice.bad")
    expect(notice).to_have_text(re.compile(r"something is wrong after \d seconds?\. Words may be missing there\."))
    spoken = "async () => { const { exactly } = await import('/page/static/js/strings.js'); return [59.6, 72.4, 125.2].map(exactly); }"  # noqa: E501 - JavaScript
    assert page.evaluate(spoken) == ["1 minute", "1 minute and 12 seconds", "2 minutes and 5 seconds"]


def test_the_buttons_of_correct_fit_into_two_rows_on_a_phone(three_unsure, open_page):
    page = open_page(f"{three_unsure}#correct", viewport={"width": 390, "height": 844})
    boxes = [one.bounding_box() for one in page.locator("form .actions button").all()]
    assert len(boxes) == 5
    assert len({round(box["y"]) for box in boxes}) == 2
    assert all(box["height"] >= 44 and box["width"] >= 44 for box in boxes)


def test_a_stopped_program_is_named_in_every_view(serve, open_page):
    page = open_page(serve())
    page.wait_for_load_state("networkidle")  # the other views are loaded as well
    page.context.set_offline(True)
    for view in ("record", "correct", "learn", "history", "words"):
        page.evaluate("name => { location.hash = name; }", view)
        expect(page.locator(f"[data-view={view}]").get_by_text(NOT_RUNNING)).to_be_visible()
    ready(page, "transcribe")
    page.set_input_files("input[type=file]", RECORDINGS / "ss-noservice.flac")
    expect(page.locator("li").get_by_text(NOT_RUNNING)).to_be_visible()
    page.click("#live-start")
    expect(page.locator("section").first.get_by_text(NOT_RUNNING)).to_be_visible()
    ready(page, "words")
    page.context.set_offline(False)
    expect(page.get_by_label("New words")).to_be_visible()  # without a click
    page.get_by_label("New words").fill("Heusgen")
    page.get_by_role("button", name="Add").first.click()
    page.context.set_offline(True)
    page.get_by_role("button", name="Remove Heusgen").click()
    expect(page.get_by_role("alert").get_by_text(NOT_RUNNING)).to_be_visible()
    assert page.locator("main").get_by_text("Failed to fetch").count() == 0
    page.context.set_offline(False)


def test_words_are_never_deleted_from_texts_by_a_blank_field(serve, open_page):
    page = open_page(f"{serve()}#words")
    page.get_by_label("New words").fill("Fuchsia, Pelargonium,Alchemilla mollis")
    page.get_by_role("button", name="Add").first.click()
    expect(page.locator("#main").get_by_text("Added: Fuchsia, Pelargonium, Alchemilla mollis.")).to_be_visible()
    assert [term.text for term in stored_terms().terms] == ["Fuchsia", "Pelargonium", "Alchemilla mollis"]

    page.get_by_label("New words").fill("fuchsia, Heusgen, Pelargonium")
    page.get_by_role("button", name="Add").first.click()
    said = page.locator("#main").get_by_text("Added: Heusgen. Changed: fuchsia. On the list already: Pelargonium.")
    expect(said).to_be_visible()

    page.get_by_label("When I say").fill("mister budge")
    page.get_by_role("button", name="Add").nth(1).click()
    expect(page.get_by_role("alert").get_by_text("Please fill in “Write”.")).to_be_visible()
    assert list(stored_terms().replacements) == []
    page.get_by_role("button", name="Remove fuchsia").click()
    expect(page.get_by_label("When I say")).to_have_value("mister budge")  # what is typed stays
    page.get_by_label("Write nothing for it").check()
    page.get_by_role("button", name="Add").nth(1).click()
    expect(page.locator("#main").get_by_text("Added: mister budge")).to_be_visible()
    page.get_by_label("When I say").fill("Mister Budge")
    page.get_by_label("Write nothing for it").check()
    page.get_by_role("button", name="Add").nth(1).click()
    expect(page.locator("#main").get_by_text("Changed: Mister Budge.")).to_be_visible()
    assert [(one.pattern, one.text) for one in stored_terms().replacements] == [("Mister Budge", "")]


def test_a_microphone_that_is_switched_off_says_how_to_switch_it_on(serve, open_page):
    page = open_page(serve())
    page.evaluate(REFUSE_MICROPHONE)
    sentence = page.locator("#sentence").inner_text()
    page.click("#start")
    explanation = page.locator(".notice.bad").get_by_text("The microphone is switched off for this page.")
    expect(explanation).to_be_visible()
    assert page.locator("#sentence").inner_text() == sentence
    ready(page, "transcribe")
    page.click("#live-start")
    expect(explanation).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_a_take_stays_on_the_page_when_another_recording_is_deleted_meanwhile(three_unsure, open_page):
    page = open_page(three_unsure)
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#start")
    page.wait_for_selector("#stop:enabled")
    expect(page.get_by_label("Anything I say")).to_be_disabled()
    page.locator(".list").get_by_role("button", name="Delete").first.click()
    expect(page.locator("main")).to_contain_text("2 recordings.")
    expect(page.locator("#stop")).to_be_enabled()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_label("Anything I say")).to_be_enabled()
    page.locator(".list").get_by_role("button", name="Delete").first.click()
    expect(page.locator(".notice.good")).to_have_text("Deleted")


def test_a_recording_that_plays_can_be_paused(three_unsure, open_page):
    page = open_page(three_unsure)
    page.evaluate("HTMLMediaElement.prototype.play = async () => {}")  # goes on until it is paused
    button = page.locator(".list button").first
    button.click()
    expect(button).to_contain_text("Pause")
    button.click()
    expect(button).to_contain_text("Play")


# The microphone stays open for 15 s after a take, here for a fraction of a second.
COUNT_CLOSED = """() => {
  const [wait, stop] = [window.setTimeout, MediaStreamTrack.prototype.stop];
  window.setTimeout = (work, milliseconds, ...rest) => wait(work, milliseconds === 15000 ? 200 : milliseconds, ...rest);
  window.stops = 0;
  MediaStreamTrack.prototype.stop = function () { window.stops += 1; return stop.call(this); };
}"""


def test_the_microphone_closes_a_while_after_a_take(serve, open_page):
    page = open_page(serve())
    page.evaluate(COUNT_CLOSED)
    for take in (1, 2):
        page.click("#start")
        page.wait_for_selector("#stop:enabled")
        page.wait_for_timeout(300)
        assert page.evaluate("stops") == take - 1
        page.click("#stop")
        until(lambda take=take: page.wait_for_timeout(50) or page.evaluate("stops") == take)
        page.once("dialog", lambda dialog: dialog.accept())
        page.click("#drop")
    page.click("nav a[href='#words']")
    expect(page.locator("main")).to_contain_text("Words to expect")
    assert page.evaluate("stops") == 2
