"""Which figures the page shows for an edit: those before and after one change, of the same recordings."""

from types import SimpleNamespace

from device_app.models.ledger import Applied, Edit, Version
from device_app.service.page.history import _record

EDIT = Edit(
    1, "adapt", ["a"], ["0" * 64], "ties", {"lam": 0.6}, "2026-01-01T11:00", before={"a": 0.24}, after={"a": 0.16}
)


def applied(lam, edit=1):
    return Applied(edit, ["0" * 64], "ties", {"lam": lam})


def shown(*versions):
    """What is shown for the edit, by what each version applies, and its WER."""
    history = [Version(number, None, edits, wer={"a": wer}) for number, (edits, wer) in enumerate(versions)]
    record = _record(SimpleNamespace(history=lambda: history, state=lambda edit: "active"), EDIT)
    return record["before"]["a"], record["latest"]["a"], record["settings"]["lam"]


def test_an_edit_has_the_figures_of_its_own_test():
    assert shown(([], 0.3), ([applied(0.6)], 0.16)) == (0.24, 0.16, 0.6)


def test_a_later_edit_does_not_change_them():
    assert shown(([], 0.3), ([applied(0.6)], 0.16), ([applied(0.6), applied(1.0, 2)], 0.07)) == (0.24, 0.16, 0.6)


def test_after_another_weight_they_are_those_of_that_change():
    assert shown(([], 0.3), ([applied(0.6)], 0.19), ([applied(0.3)], 0.21)) == (0.19, 0.21, 0.3)
    assert shown(([], 0.3), ([applied(0.6)], 0.16), ([], 0.29), ([applied(0.5)], 0.2)) == (0.29, 0.2, 0.5)
