"""The test sets include every domain that the active version was adapted to."""

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


@pytest.mark.parametrize(("held_out", "expected"), [([], ["anna", GUARD_SET]), (None, [GUARD_SET])])
def test_the_new_domain_is_a_test_set_unless_held_out_is_none(own_home, ledger, transcriber, held_out, expected):
    with Store() as store:
        found = build_test_sets(store, ledger, "anna", held_out, transcriber, SilentReporter())
    assert list(found.sets) == list(found.before) == expected
    assert found.version == 0
