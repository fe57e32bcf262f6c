"""A value outside the range of a setting is refused with the setting's name, the value and the range."""

import numpy as np
import pytest

from editing.errors import BadInputError
from editing.ranges import Range

SHARE = Range(0, 1)
DENSITY = Range(0, 1, excludes_least=True)
BELOW_1 = Range(0, 1, excludes_most=True)
COUNT = Range(1, 64, is_whole=True)


@pytest.mark.parametrize(
    ("limits", "value"),
    [(SHARE, 0), (SHARE, 1.0), (SHARE, np.float32(0.5)), (DENSITY, 1), (BELOW_1, 0), (COUNT, 64), (COUNT, np.int64(1))],
)
def test_values_in_the_range_are_accepted(limits, value):
    limits.check("setting", value)


@pytest.mark.parametrize(
    ("limits", "value", "message"),
    [
        (SHARE, -0.1, "share is -0.1; expected a number from 0 to 1"),
        (SHARE, float("nan"), "share is nan; expected a number from 0 to 1"),
        (SHARE, "0.5", "share is '0.5'; expected a number from 0 to 1"),
        (SHARE, None, "share is None; expected a number from 0 to 1"),
        (SHARE, True, "share is True; expected a number from 0 to 1"),
        (DENSITY, 0.0, "share is 0.0; expected a number above 0 and at most 1"),
        (BELOW_1, 1, "share is 1; expected a number of at least 0 and below 1"),
        (COUNT, 0, "share is 0; expected a whole number from 1 to 64"),
        (COUNT, 2.0, "share is 2.0; expected a whole number from 1 to 64"),
        (Range(0, 2**31 - 1, is_whole=True), -1, "share is -1; expected a whole number from 0 to 2147483647"),
    ],
)
def test_other_values_are_refused(limits, value, message):
    with pytest.raises(BadInputError) as error:
        limits.check("share", value)
    assert str(error.value) == message


def test_a_value_of_any_length_makes_a_message_of_one_line():
    with pytest.raises(BadInputError) as error:
        COUNT.check("count", "9\n" * 10_000)
    assert len(str(error.value)) < 150
    assert "\n" not in str(error.value)
