"""Errors in options and arguments say what is expected, without the internals of the library that reads them."""

import pytest

from tests.command_line import call


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["transcribe", "--beam", "x"], "expected a whole number"),
        (["transcribe", "--beam", "99"], "expected at most 64"),
        (["adapt", "--epochs", "0"], "expected at least 1"),
        (["adapt", "--tolerance", "x"], "expected a number"),
        (["label", "set", "x", "text"], "expected a whole number"),
        (["adapt", "--scope", "x"], "'x' is not one of"),
    ],
)
def test_a_wrong_value_says_what_is_expected(arguments, expected):
    shown = " ".join(call(*arguments, code=2).stderr.replace("│", " ").split())
    assert expected in shown
    assert not any(word in shown for word in ("Input should", "Value error", "unable to parse"))
