"""The test sets hold every domain that the active version was adapted to."""

import pytest

from device_app.adaptation import test_sets
from device_app.adaptation.test_sets import build_test_sets
from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.reporter import SilentReporter


@pytest.fixture(autouse=True)
def _small_guard_set(monkeypatch):
    one = test_sets.guard_set()[4:5]
    monkeypatch.setattr(test_sets, "guard_set", lambda: one)


@pytest.mark.parametrize(("held_out", "asked"), [([], ["anna", GUARD_SET]), (None, [GUARD_SET])])
def test_a_domain_stays_in_the_test_sets_though_its_recordings_are_gone(own_home, ledger, transcriber, held_out, asked):
    with Store() as store:
        found = build_test_sets(store, ledger, "anna", held_out, transcriber, SilentReporter())
    assert list(found.sets) == list(found.before) == asked
    assert found.version == 0
