"""Which WERs and settings an edit has: those before and after one change, of the same recordings."""

import pytest

from device_app.models.ledger import Applied, Edit, Version

EDIT = Edit(
    1, "adapt", ["a"], ["0" * 64], "ties", {"lam": 0.6}, "2026-01-01T11:00", before={"a": 0.24}, after={"a": 0.16}
)


def applied(lam, edit=1):
    return Applied(edit, ["0" * 64], "ties", {"lam": lam})


@pytest.fixture
def shown(ledger):
    """The WERs before and after the edit, and its lambda, by what each version applies, and its WER."""

    def show(*versions):
        ledger.versions = [
            Version(number, number - 1 if number else None, edits, wer={"a": wer})
            for number, (edits, wer) in enumerate(versions)
        ]
        ledger.current = ledger.versions[-1]
        effect = ledger.effect(EDIT)
        return effect.before["a"], effect.after["a"], effect.settings["lam"]

    return show


def test_an_edit_has_the_figures_of_its_own_test(shown):
    assert shown(([], 0.3), ([applied(0.6)], 0.16)) == (0.24, 0.16, 0.6)


def test_a_later_edit_does_not_change_them(shown):
    assert shown(([], 0.3), ([applied(0.6)], 0.16), ([applied(0.6), applied(1.0, 2)], 0.07)) == (0.24, 0.16, 0.6)


def test_after_another_weight_they_are_those_of_that_change(shown):
    assert shown(([], 0.3), ([applied(0.6)], 0.19), ([applied(0.3)], 0.21)) == (0.19, 0.21, 0.3)
    assert shown(([], 0.3), ([applied(0.6)], 0.16), ([], 0.29), ([applied(0.5)], 0.2)) == (0.29, 0.2, 0.5)


def test_an_edit_that_was_taken_out_keeps_them(shown):
    assert shown(([], 0.3), ([applied(0.6)], 0.16), ([applied(0.3)], 0.21), ([], 0.3)) == (0.16, 0.21, 0.3)


def test_an_edit_that_never_was_applied_has_those_of_the_gate(shown):
    assert shown(([], 0.3), ([applied(1.0, 2)], 0.07)) == (0.24, 0.16, 0.6)
