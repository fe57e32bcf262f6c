"""An exam asks of a version what is known of it, and no less."""

import pytest

from device_app.adaptation import test_sets as exam
from device_app.adaptation.test_sets import examine
from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.reporter import Silent


@pytest.fixture(autouse=True)
def _one_in_the_guard_set(monkeypatch):
    one = exam.guard_set()[4:5]
    monkeypatch.setattr(exam, "guard_set", lambda: one)


@pytest.mark.parametrize(("held_out", "asked"), [([], ["anna", GUARD_SET]), (None, [GUARD_SET])])
def test_a_domain_stays_in_the_exam_though_its_recordings_are_gone(own_home, ledger, transcriber, held_out, asked):
    with Store() as store:
        found = examine(store, ledger, "anna", held_out, transcriber, Silent())
    assert list(found.sets) == list(found.before) == asked
    assert found.version == 0
