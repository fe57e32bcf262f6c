"""The embedded model learns spelled codes through the page, in a process of its own that outlives the browser tab."""

import os
from pathlib import Path

import pytest

from device_app.models.bundles import embedded_bundle
from device_app.models.ledger import Ledger
from device_app.service.models import Models
from device_app.service.server import make_state
from tests.command_line import call
from tests.conftest import until
from tests.device_app.service.conftest import running
from tests.device_app.service.page.conftest import ready


@pytest.mark.slow
def test_the_embedded_model_learns_and_the_person_takes_it_back(codes, open_page, own_home, monkeypatch):
    call("import", codes, "--domain", "codes")
    with running(make_state(Models(), threads=2)) as url:
        page = open_page(url, viewport={"width": 1000, "height": 800})
        ready(page, "learn")
        page.click("#start")
        page.wait_for_selector(".step")
        page.close()  # it goes on

        page = open_page(url, viewport={"width": 1000, "height": 800})
        ready(page, "learn")
        steps = set()
        until(lambda: look(page, steps), 3600)
        assert len(steps) >= 3, steps
        assert page.get_by_role("heading", name="It understands you better now").is_visible()
        screenshot(page, "learned")
        ledger = Ledger(embedded_bundle())
        (edit,) = ledger.edits
        assert ledger.is_applied(1)
        assert edit.after["codes"] < edit.before["codes"]

        ready(page, "history")
        screenshot(page, "history")
        ready(page, "learn")
        page.click("#undo")
        page.locator("#main").get_by_text("It is taken back").wait_for(timeout=120_000)
        assert not Ledger(embedded_bundle()).is_applied(1)


def look(page, steps):
    """Notes the step on the page; whether there is a result."""
    page.wait_for_timeout(1000)
    step = page.locator(".step")
    if step.count():
        steps.add(step.first.inner_text())
    return page.locator("#keep").count()


def screenshot(page, name):
    if folder := os.environ.get("ASR_EDGE_SCREENSHOTS"):
        page.wait_for_timeout(500)
        page.screenshot(path=Path(folder) / f"{name}.png", caret="initial")
