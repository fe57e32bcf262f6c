import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from editing.sparsify import drop, entries_kept, magnitude_mask, masks, trim

densities = st.floats(0.01, 1.0)


def breadcrumbs(tensor, density, outliers=0.01):
    """Removes both tails, as the merge method of this name does."""
    return np.where(masks({"": tensor}, density, outliers=outliers)[""], tensor, 0)


@pytest.mark.parametrize(
    ("size", "density", "kept"), [(100, 0.29, 29), (100, 0.57, 57), (3, 0.1, 1), (0, 0.5, 0), (7, 1, 7)]
)
def test_a_density_is_used_as_the_decimal_number_that_was_written(size, density, kept):
    assert entries_kept(size, density) == kept


@pytest.mark.parametrize("density", [0, -0.1, 1.1, float("nan")])
def test_a_density_out_of_range_is_refused(density):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        entries_kept(10, density)


@pytest.mark.parametrize("sparsify", [trim, breadcrumbs])
@given(size=st.integers(1, 400), density=densities, seed=st.integers(0, 2**32 - 1))
def test_keeps_as_many_entries_as_density_says(sparsify, size, density, seed):
    tensor = np.random.default_rng(seed).standard_normal(size, dtype=np.float32)
    assert np.count_nonzero(sparsify(tensor, density)) == entries_kept(size, density)


@given(size=st.integers(1, 200), density=densities, seed=st.integers(0, 99))
def test_no_trimmed_entry_is_larger_than_a_kept_one(size, density, seed):
    tensor = np.random.default_rng(seed).standard_normal(size, dtype=np.float32)
    mask = magnitude_mask(tensor, density)
    assert np.abs(tensor[mask]).min() >= np.abs(tensor[~mask]).max(initial=0)
    np.testing.assert_array_equal(trim(tensor, density)[mask], tensor[mask])


def test_among_equal_entries_the_first_are_kept():
    np.testing.assert_array_equal(trim(np.ones(6, np.float32), 0.5), [1, 1, 1, 0, 0, 0])


def test_breadcrumbs_also_removes_the_largest_entries():
    tensor = np.arange(1, 101, dtype=np.float32)
    kept = np.flatnonzero(breadcrumbs(tensor, 0.5, outliers=0.1)) + 1
    assert (kept.min(), kept.max()) == (41, 90)


def test_a_global_density_applies_to_the_whole_vector():
    vector = {"small": np.full(10, 0.1, np.float32), "large": np.full(10, 1.0, np.float32)}
    found = masks(vector, 0.5, "global")
    assert (found["small"].sum(), found["large"].sum()) == (0, 10)
    found = masks(vector, 0.5)
    assert (found["small"].sum(), found["large"].sum()) == (5, 5)


@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_the_fraction_of_outliers_is_used_as_the_decimal_number_that_was_written(scope):
    vector = {"a": np.arange(1, 101, dtype=np.float32)}
    kept = np.flatnonzero(masks(vector, 0.5, scope, outliers=0.29)["a"]) + 1  # int(0.29 * 100) is 28
    assert (kept.min(), kept.max()) == (22, 71)


@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_a_vector_without_tensors_has_no_masks(scope):
    assert masks({}, 0.5, scope) == {}
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        masks({}, 0, scope)


@given(density=st.floats(0.05, 1.0))
def test_dropping_keeps_the_expected_value(density):
    tensor = np.ones(40_000, np.float32)
    dropped = drop(tensor, density, np.random.default_rng(0))
    assert dropped.mean() == pytest.approx(1, abs=6 * np.sqrt((1 - density) / density / tensor.size) + 1e-6)
    assert set(np.unique(dropped)) <= {0, np.float32(1) / np.float32(density), 1}
