"""What the views Learn, History and Record make of the service's answers, which these tests give in its place."""

import re

import pytest
from playwright.sync_api import expect

from tests.device_app.service.page.conftest import ready

GENERAL = "general speech"
NO_TASK = {
    "kind": None,
    "arguments": {},
    "status": "none",
    "step": "",
    "done": 0,
    "total": 0,
    "left_s": None,
    "all_left_s": None,
    "result": None,
    "error": "",
    "stopping": False,
}
DOMAIN = {
    "domain": "my-speech",
    "recordings": 10,
    "labelled": 10,
    "unlabelled": 0,
    "seconds": 40,
    "new": 0,
    "last_edit": None,
    "wer_before": None,
    "wer_now": None,
    "has_nothing_to_gain": False,
    "minutes": 4,
    "is_measured": True,
    "is_ready": True,
}
LEARNING = {
    "domains": [DOMAIN],
    "general_before": None,
    "general_now": None,
    "edits": [],
    "fewest": 10,
    "enough": 40,
    "new_for_next": 10,
    "cannot_learn": "",
}
EDIT = {
    "id": 1,
    "kind": "adapt",
    "domain": "my-speech",
    "domains": ["my-speech"],
    "method": "ties",
    "settings": {"lam": 0.6, "density": 0.5},
    "created": "2026-11-26T10:00:00+00:00",
    "utterances": 7,
    "held_out": 3,
    "before": {"my-speech": 0.18, GENERAL: 0.18},
    "latest": {"my-speech": 0.036, GENERAL: 0.1795},
    "reasons": [],
    "rejection": None,
    "retired_terms": [],
    "state": "active",
}
HELD_BACK = {**EDIT, "state": "kept out", "reasons": ["too few"], "rejection": "uncertain gain"}


def change(before, after, utterances=3):
    return {"before": before, "after": after, "difference": after - before, "utterances": utterances}


def result(mine=(0.18, 0.036), everyone=(0.18, 0.1795), rejection="uncertain gain", worse=(), **more):
    return {
        "promoted": rejection is None,
        "passes": rejection is None,
        "reasons": [] if rejection is None else ["figures"],
        "rejection": rejection,
        "worse": list(worse),
        "version": 1,
        "edit": EDIT,
        "domains": {"my-speech": change(*mine), GENERAL: change(*everyone, 24)},
        "losses": [1.0],
        "tuning_s": 9.0,
        "norm": 1.0,
        "retired_terms": [],
        **more,
    }


def learned(**options):
    return {
        **NO_TASK,
        "kind": "learn",
        "status": "done",
        "arguments": {"domain": "my-speech"},
        "result": result(**options),
    }


def running(step, kind="learn", **more):
    return {**NO_TASK, "kind": kind, "status": "running", "step": step, "arguments": {"domain": "my-speech"}, **more}


def tried(lam, **options):
    given = {"edit": 1, "lam": lam}
    return {**NO_TASK, "kind": "preview", "status": "done", "arguments": given, "result": result(**options)}


def history(*edits, versions=(), following=1):
    return {"general": GENERAL, "edits": list(edits), "versions": list(versions), "next": following}


@pytest.fixture
def answer(serve, open_page):
    """Opens the page with these answers, which can be changed later; returns the page and the requests that came."""

    def start(answers, **options):
        page, asked = open_page(serve(), **options), []

        def reply(route):
            path = route.request.url.partition("/page/api")[2]
            asked.append(f"{route.request.method} {path}")
            if path not in answers:
                return route.continue_()
            return route.fulfill(json=answers[path])

        page.route("**/page/api/**", reply)
        return page, asked

    return start


def card(page):
    return page.locator("#main .card").last


def test_the_verdict_on_learning_says_why_and_what_to_do(answer):
    answers = {"/task": learned(), "/learning": LEARNING, "/task/dismiss": NO_TASK}
    page, asked = answer(answers)

    ready(page, "learn")
    expect(page.get_by_role("heading", name="It looks better, but that is not sure yet")).to_be_visible()
    expect(card(page)).to_contain_text("fewer mistakes in the 3 recordings that were kept aside for the test")
    expect(card(page)).to_contain_text("Record about 30 more sentences")
    # Figures that look the same are the same, and their bars are equally long.
    expect(page.locator(".verdict")).to_have_text(["Better", "About the same"])
    bars = page.locator(".score").last.locator(".bar > span")
    assert bars.nth(0).get_attribute("style") == bars.nth(1).get_attribute("style")
    page.click("#more")
    page.wait_for_selector("[data-view=record][data-ready]")
    assert "POST /task/dismiss" in asked

    for mine, everyone, rejection, worse, text in [
        ((0.18, 0.2), (0.18, 0.18), "no gain", [], "It did not get better"),
        ((0.18, 0.1), (0.18, 0.25), "regression", [GENERAL], "More of everyone else's words would be wrong."),
        ((0.18, 0.1), (0.18, 0.18), "regression", [GENERAL], "understand everyone else too differently"),
        ((0.18, 0.1), (0.18, 0.18), "a code of tomorrow", [], "The test did not show that it helps."),
        ((0.18, 0.2), (0.18, 0.19), None, [], "It does not understand you better now"),
        ((0.18, 0.1), (0.18, 0.18), None, [], "It understands you better now"),
    ]:
        answers["/task"] = learned(mine=mine, everyone=everyone, rejection=rejection, worse=worse)
        ready(page, "record")
        ready(page, "learn")
        expect(card(page)).to_contain_text(text)
        assert page.locator("#undo").count() == (rejection is None)


def test_what_is_worse_for_everybody_is_not_recommended(answer):
    worse = {"mine": (0.1, 0.18), "everyone": (0.18, 0.2)}
    answers = {"/task": tried(0.4, rejection=None, **worse), "/history": history(EDIT), "/task/dismiss": NO_TASK}
    page, asked = answer(answers)
    asks = []
    page.on("dialog", lambda dialog: (asks.append(dialog.message), dialog.dismiss()))
    ready(page, "history")
    expect(card(page)).to_contain_text("More of your words and of everyone else's would be wrong. Nothing has changed")
    expect(page.locator("#main button.primary")).to_have_text(["Do not use it"])
    page.get_by_role("button", name="Use it anyway").click()
    assert asks == ["More words are wrong with it. Use it anyway?"]
    assert "POST /history/1/reweight" not in asked
    page.get_by_role("button", name="Do not use it").click()
    expect(page.locator("input[type=range]")).to_have_value("60")
    assert page.get_by_role("button", name="Use it anyway").count() == 0
    assert "POST /task/dismiss" in asked

    taken_out = {**EDIT, "state": "reverted", "latest": {"my-speech": 0.2, GENERAL: 0.18}}
    answers |= {"/task": NO_TASK, "/history": history(taken_out)}
    ready(page, "words")
    ready(page, "history")
    expect(card(page)).to_contain_text("More of your words would be wrong. It is better not to use it")
    assert page.locator("#main button.primary").count() == 0
    page.get_by_role("button", name="Use it anyway").click()
    assert len(asks) == 2

    answers |= {"/task": learned(rejection=None, **worse), "/learning": LEARNING}
    ready(page, "learn")
    expect(card(page)).to_contain_text("More of your words and of everyone else's are wrong than before.")
    expect(page.locator("#main button.primary")).to_have_text(["Take it back"])
    page.get_by_role("button", name="Keep it anyway").click()
    assert asks[2] == "More words are wrong with it. Keep it anyway?"
    answers["/task"] = learned(rejection="regression", worse=["my-speech", GENERAL], **worse)
    ready(page, "words")
    ready(page, "learn")
    expect(page.locator("#main button.primary")).to_have_text(["Record more"])


def test_what_was_learned_is_told_apart_from_what_is_in_use(answer):
    answers = {"/task": NO_TASK}
    page, _ = answer(answers)
    for state, new, text in [
        ("active", 0, "It has learned from all of them already"),
        ("merged", 0, "It has learned from all of them already"),
        ("kept out", 0, "What it learned from them is not in use"),
        ("reverted", 0, "What it learned from them is not in use"),
        ("active", 1, "1 of them is new."),
    ]:
        answers["/learning"] = {**LEARNING, "domains": [{**DOMAIN, "last_edit": state, "new": new}]}
        ready(page, "record")
        ready(page, "learn")
        expect(card(page)).to_contain_text(text)
    expect(card(page)).to_contain_text("It takes about 4 minutes if this computer is as fast as the last time.")
    answers["/learning"] = {**LEARNING, "domains": [{**DOMAIN, "is_measured": False}]}
    ready(page, "record")
    ready(page, "learn")
    expect(card(page)).to_contain_text("It takes 4 minutes or more")


def test_progress_names_the_step_and_a_wish_to_stop_is_remembered(answer):
    step = {"done": 1.0, "total": 10.0, "left_s": 170.0}
    answers = {"/task": running("fine-tuning", **step), "/learning": LEARNING, "/history": history()}
    page, _ = answer(answers)
    ready(page, "learn")
    expect(page.locator(".step")).to_have_text("Step 3 of 4: Learning …")
    expect(card(page)).to_contain_text("10 % of this step, about 3 minutes left")
    answers["/task"] = running("fine-tuning", **step, all_left_s=600.0)
    expect(card(page)).to_contain_text("about 3 minutes left. About 10 minutes left in all.")
    answers["/task"] = running("Fine-tuning on 7 utterances, about 3 minutes without a GPU ...")
    expect(page.locator(".step")).to_have_text("Step 3 of 4: Preparing to learn …")
    answers["/task"] = {**running("fine-tuning", **step), "stopping": True}
    expect(page.get_by_role("button", name="Stopping …")).to_be_disabled()
    expect(card(page)).to_contain_text("It stops at the next step.")
    expect(card(page)).not_to_contain_text("It goes on")

    # Other views say that it learns, and History why its buttons are grey.
    ready(page, "words")
    expect(page.locator("#activity")).to_have_text("Learning from your recordings … step 3 of 4, 10 %")
    answers["/task"] = learned()
    expect(page.locator("#activity")).to_have_text("Learning has ended. See what came of it")
    answers["/task"] = running("fine-tuning", **step)
    ready(page, "history")
    expect(page.locator("#activity")).to_be_hidden()
    expect(card(page)).to_contain_text("It is learning now.")
    answers["/history"] = history(EDIT)
    ready(page, "words")
    ready(page, "history")
    expect(card(page)).to_contain_text("You can change this when learning has finished.")


def test_history_says_why_a_change_is_held_back_and_asks_for_no_use_of_it(answer):
    answers = {"/task": NO_TASK, "/history": history(HELD_BACK), "/task/dismiss": NO_TASK}
    page, asked = answer(answers)
    ready(page, "history")
    expect(page.get_by_role("heading", name="Learned from 7 recordings, tested with 3 others")).to_be_visible()
    expect(card(page)).to_contain_text("Not in use")
    expect(card(page)).to_contain_text("Held back: It seems to help, but the recordings of the test were too few")
    assert page.locator("#main button.primary").count() == 0
    answers["/history/1/reweight"] = running("transcribing with the active version", "reweight")
    page.locator("details").last.locator("summary").click()
    answers["/task"] = {**learned(), "kind": "reweight", "arguments": {"edit": 1, "lam": 0.6}}
    page.get_by_role("button", name="Test it again").click()
    expect(page.locator(".notice").first).to_contain_text("So nothing was changed.")
    assert page.locator(".notice.bad").count() == 0
    assert "POST /history/1/reweight" in asked
    assert page.locator("details[data-of='1']").evaluate("e => e.open")  # it was open before


def test_an_edit_that_is_a_part_of_a_merge_is_in_use_and_is_not_changed_alone(answer):
    page, _ = answer({"/task": NO_TASK, "/history": history({**EDIT, "state": "merged"})})
    ready(page, "history")
    expect(page.locator(".tag.good")).to_have_text("In use as a part")
    expect(page.locator(".actions")).to_contain_text("Take that one out to use this one alone")
    assert page.locator(".actions button").count() == 0
    assert page.locator("input[type=range]").count() == 0


def test_a_trial_that_ended_in_another_view_is_shown_and_says_which_strength(answer):
    taken_out = {**EDIT, "state": "reverted"}
    answers = {"/task": tried(0.8, rejection=None), "/history": history(taken_out), "/task/dismiss": NO_TASK}
    page, _ = answer(answers)
    ready(page, "history")
    expect(page.locator("input[type=range]")).to_have_value("80")
    expect(page.get_by_role("button", name="Use it at 80 %")).to_be_visible()
    expect(page.get_by_role("button", name="Use it at 60 %")).to_be_hidden()  # one button at a time
    answers["/task"] = NO_TASK
    page.locator("input[type=range]").fill("60")
    expect(page.get_by_role("button", name="Use it at 60 %")).to_be_visible()

    refused = tried(0.2, mine=(0.03, 0.18), everyone=(0.18, 0.18), rejection="regression", worse=["my-speech"])
    answers |= {"/task": refused, "/history": history(EDIT)}
    ready(page, "words")
    ready(page, "history")
    expect(card(page)).to_contain_text("More of your words would be wrong. So it cannot be used at this strength.")
    assert page.get_by_role("button", name=re.compile("Use it")).count() == 0
    expect(page.get_by_role("button", name="Take it out")).to_be_visible()
    answers["/history"] = history(EDIT, following=2)  # the model has changed since
    ready(page, "words")
    ready(page, "history")
    expect(page.locator("input[type=range]")).to_have_value("60")


LABELS = """async (moments) => (await import('/page/static/js/chart.js')).momentLabels(moments)"""


@pytest.mark.parametrize(
    ("moments", "labels"),
    [
        ([None, "2026-11-26T10:00:00", "2026-11-27T10:00:00"], ["", "26 Nov", "27 Nov"]),
        (["2026-11-26T10:00:00", "2026-11-26T11:30:00"], ["10:00\n26 Nov", "11:30"]),
        (
            ["2026-11-26T10:00:00", "2026-11-26T10:00:20", "2026-11-28T09:00:00"],
            ["10:00:00\n26 Nov", "10:00:20", "09:00\n28 Nov"],
        ),
        (["2025-11-26T10:00:00", "2026-11-26T10:00:00"], ["26 Nov 2025", "26 Nov 2026"]),
    ],
    ids=["days", "a day", "a minute", "years"],
)
def test_no_two_moments_of_the_chart_have_the_same_label(answer, moments, labels):
    page, _ = answer({}, locale="en-GB")
    assert page.evaluate(LABELS, moments) == labels


PIXELS = """() => {
  const { width, height } = document.querySelector('.chart canvas');
  return [...document.querySelector('.chart canvas').getContext('2d').getImageData(0, 0, width, height).data].join();
}"""


def test_the_chart_follows_a_change_to_dark(answer):
    versions = [{"wer": {"my-speech": 0.18}, "created": f"2026-11-2{n}T10:00:00", "why": ""} for n in (5, 6)]
    page, _ = answer({"/task": NO_TASK, "/history": history(EDIT, versions=versions)}, color_scheme="light")
    ready(page, "history")
    page.wait_for_selector(".chart canvas")
    page.wait_for_timeout(200)
    light = page.evaluate(PIXELS)
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(200)
    dark = page.evaluate(PIXELS)
    assert dark != light
    assert page.locator(".chart canvas").count() == 1
    page.emulate_media(color_scheme="light")
    page.wait_for_timeout(200)
    assert page.evaluate(PIXELS) == light


def test_taking_it_back_twice_is_no_error(answer):
    answers = {"/task": learned(rejection=None), "/learning": LEARNING, "/task/dismiss": NO_TASK}
    page, asked = answer(answers)
    ready(page, "learn")
    answers["/history/1/revert"] = running("reverting", "revert")
    ended = {"version": 2, "restored_terms": ["shoes"]}
    answers["/task"] = {**NO_TASK, "kind": "revert", "status": "done", "result": ended}
    page.locator("#undo").dblclick()
    expect(page.locator(".notice")).to_contain_text("You can use it again in History.")
    expect(page.locator(".notice")).to_contain_text("These words are on your list again: shoes")
    assert asked.count("POST /history/1/revert") == 1


def test_a_take_that_was_not_decided_about_comes_back(answer, tmp_path):
    page, _ = answer({"/task": NO_TASK})
    for _ in range(2):
        page.click("#start")
        page.wait_for_selector("#stop:enabled")
        page.wait_for_timeout(1200)
        page.click("#stop")
        page.wait_for_selector("#keep")
        ready(page, "words")
        ready(page, "record")
    notices = page.locator(".notice", has_text="was not finished")
    expect(notices).to_have_count(2)
    expect(notices.first.get_by_role("button", name="Play")).to_be_visible()
    notices.first.get_by_role("button", name="Look at it").click()
    page.wait_for_selector("#keep")
    expect(notices).to_have_count(1)
    slowly(page, "**/takes/check*")
    notices.first.get_by_role("button", name="Look at it").click()
    expect(page.locator("#drop")).to_have_count(0)  # the buttons of the take before are gone while this one is checked
    page.wait_for_selector("#drop")
    expect(notices).to_have_count(1)  # the one before is back among them
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#drop")
    page.wait_for_selector("#start")
    expect(notices).to_have_count(1)


def slowly(page, url):
    """Delays the requests to a URL by half a second."""

    def reply(route):
        page.wait_for_timeout(500)
        route.continue_()

    page.route(url, reply)
