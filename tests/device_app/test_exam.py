"""An exam asks of a version what is known of it, and no less."""

import pytest

from device_app import exam
from device_app.exam import examine
from device_app.screen import Silent
from device_app.store import CANARY, Store


@pytest.fixture(autouse=True)
def _one_canary(monkeypatch):
    one = exam.canary()[4:5]
    monkeypatch.setattr(exam, "canary", lambda: one)


@pytest.mark.parametrize(("held_out", "asked"), [([], ["anna", CANARY]), (None, [CANARY])])
def test_a_domain_stays_in_the_exam_though_its_recordings_are_gone(own_home, ledger, transcriber, held_out, asked):
    with Store() as store:
        found = examine(store, ledger, "anna", held_out, transcriber, Silent())
    assert list(found.sets) == list(found.before) == asked
    assert found.version == 0
