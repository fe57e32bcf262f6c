"""Interference: a new vector does not turn around what earlier edits changed most."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from editing.errors import BadInputError
from editing.interference import without_interference
from editing.sparsify import magnitude_mask

numbers = arrays(np.float32, (4, 5), elements=st.floats(-2, 2, width=32))


def test_opposing_entries_are_zero_where_the_earlier_edits_changed_most():
    new = {"w": np.array([1, -1, -1, 1, -1], np.float32)}
    old = {"w": np.array([5, 4, 0.1, -3, 0], np.float32)}
    np.testing.assert_array_equal(without_interference(new, old, 0.6)["w"], [1, 0, -1, 0, -1])
    np.testing.assert_array_equal(without_interference(new, old, 1)["w"], [1, 0, 0, 0, -1])
    np.testing.assert_array_equal(new["w"], [1, -1, -1, 1, -1])


def test_without_earlier_edits_nothing_changes():
    new = {"w": np.array([[1, -2]], np.float32), "b": np.array(3, np.float32)}
    found = without_interference(new, {name: np.zeros_like(tensor) for name, tensor in new.items()})
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"w": [[1, -2]], "b": 3}


@given(new=numbers, old=numbers, share=st.floats(0.05, 1))
def test_entries_are_kept_or_zero_and_no_kept_one_opposes_the_largest_earlier_ones(new, old, share):
    found = without_interference({"w": new}, {"w": old}, share)["w"]
    assert np.all((found == new) | (found == 0))
    largest = magnitude_mask(old, share)
    assert np.all((found * old)[largest] >= 0)
    np.testing.assert_array_equal(found[~largest], new[~largest])
    # A second election changes nothing.
    np.testing.assert_array_equal(without_interference({"w": found}, {"w": old}, share)["w"], found)


@pytest.mark.parametrize("share", [0, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(BadInputError, match="above 0 and at most 1"):
        without_interference({"w": np.ones(2, np.float32)}, {"w": np.ones(2, np.float32)}, share)
