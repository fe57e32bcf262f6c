import numpy as np
import pytest

from export.verify import ParityError, check_numbers, check_tokens, largest_difference


def test_difference_is_absolute_below_one_and_relative_above():
    assert largest_difference(np.float32([0.1]), np.float32([0.2])) == pytest.approx(0.1)
    assert largest_difference(np.float32([100, 0]), np.float32([101, 0])) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({}, "has no such output"),
        ({"y": np.zeros((1, 2), np.float32)}, r"y: shape \(1, 2\)"),
        ({"y": np.array([0, np.nan], np.float32)}, "not finite"),
        ({"y": np.array([0, 2e-4], np.float32)}, "differs by 2.0e-04"),
    ],
)
def test_an_output_that_differs_is_named(found, message):
    with pytest.raises(ParityError, match=message):
        check_numbers({"y": np.zeros(2, np.float32)}, found)


def test_an_expected_output_that_is_not_finite_is_an_error():
    with pytest.raises(ParityError, match="y: values that are not finite"):
        check_numbers({"y": np.float32([0, np.nan])}, {"y": np.zeros(2, np.float32)})


def test_the_largest_difference_within_the_tolerance_is_returned():
    assert check_numbers({"y": np.zeros(2, np.float32)}, {"y": np.float32([0, 5e-5])}) == pytest.approx(5e-5)


def test_the_first_differing_token_is_named_with_its_position():
    check_tokens([1, 2], [1, 2])
    with pytest.raises(ParityError, match="token 1: 3, expected 2"):
        check_tokens([1, 2], [1, 3])
    with pytest.raises(ParityError, match="1 token, expected 2"):
        check_tokens([1, 2], [1])
