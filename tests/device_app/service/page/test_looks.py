"""Every view at two sizes, light and dark: axe-core finds nothing, nothing is wider than the screen, targets are large.

Screenshots are written into the folder ASR_EDGE_SCREENSHOTS (by default screenshots/ beside the data of pytest), for
people to look at.
"""

import os
from pathlib import Path

import pytest

from device_app.data.store import Store
from device_app.data.terms import Replacement, Term, change_terms
from device_app.paths import RECORDINGS
from tests.device_app.service.page.conftest import ready, violations

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
# Targets that a finger must hit. Links within a sentence are exempt (WCAG 2.5.8), as are small native boxes with a
# label of full size.
SMALL = """() => [...document.querySelectorAll('button, select, summary, nav a, input, textarea')]
    .filter(e => e.offsetParent && !e.closest('.choice, .skip') && !e.classList.contains('skip'))
    .map(e => [e.outerHTML.slice(0, 80), e.getBoundingClientRect().height])
    .filter(([, height]) => height < 44)"""
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def used_home(home_adapted):
    """A data folder of somebody who has used the page for a while."""
    with Store() as store:
        for utterance in list(store.utterances("codes"))[:3]:
            store.set_hypothesis(utterance.number, "fio mam", 0.42)
    change_terms(
        lambda listed: listed.with_terms([Term("Zwetschge"), Term("Heusgen")]).with_replacements(
            [Replacement("zero six", "06")]
        )
    )
    return home_adapted


@pytest.fixture
def service_home(used_home):
    return used_home


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_view(serve, open_page, tmp_path_factory, size, scheme, tasks_in_threads, teacher):
    width, height = SIZES[size]
    folder = Path(os.environ.get("ASR_EDGE_SCREENSHOTS", tmp_path_factory.getbasetemp() / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    view = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
    page = open_page(serve(), **view, bypass_csp=True)  # axe-core uses inline styles
    problems = []

    def look(name):
        page.wait_for_timeout(400)
        page.screenshot(
            path=folder / f"{name}-{size}-{scheme}.png", full_page=True, caret="initial"
        )  # hiding it needs a style
        problems.extend(f"{name}: {one}" for one in violations(page))
        problems.extend(f"{name}: small target {one}" for one in page.evaluate(SMALL))
        if page.evaluate(WIDE) > 0:
            problems.append(f"{name}: wider than the screen by {page.evaluate(WIDE)} px")

    look("record")
    page.click("#start")
    page.wait_for_selector("#stop:enabled")
    page.wait_for_timeout(2500)
    look("record-speaking")
    page.click("#stop")
    page.wait_for_selector("#keep")
    page.click("details >> nth=0")
    look("record-review")
    page.click("#keep")
    page.wait_for_selector("#start")
    look("record-next")
    ready(page, "correct")
    look("correct-done")
    page.select_option("select", "unsure")
    page.wait_for_selector("textarea")
    look("correct")
    ready(page, "transcribe")
    look("transcribe")
    page.set_input_files("input[type=file]", RECORDINGS / "ss-noservice.flac")
    page.wait_for_selector("[data-format=srt]")
    look("transcribe-done")
    ready(page, "words")
    look("words")
    ready(page, "history")
    look("history")
    page.locator("input[type=range]").first.fill("40")
    look("history-slider")
    page.get_by_role("button", name="Try it").click()
    page.wait_for_selector(".field .scores")
    look("history-preview")
    page.get_by_role("button", name="Take it out").first.click()
    page.wait_for_selector(".notice.good")
    look("history-reverted")
    ready(page, "learn")
    page.select_option("select", "codes")
    look("learn")
    page.click("#start")
    page.wait_for_selector("#keep")
    look("learn-result")
    page.click("summary")
    look("learn-result-details")
    assert not problems


@pytest.mark.slow
def test_zoomed_to_200_percent(serve, open_page):
    page = open_page(serve(), viewport={"width": 640, "height": 450})  # 1280 by 900 at 200 %
    for view in ("record", "correct", "learn", "history", "transcribe", "words"):
        ready(page, view)
        assert page.evaluate(WIDE) <= 0, view
