"""Compares each method with its oracle, and checks properties that hold for all inputs."""

import importlib
import warnings
from functools import cache
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from editing.errors import BadInputError
from editing.methods import METHODS
from editing.methods.dare_linear import drop_entries
from editing.task_vector import Origin, TaskVector
from tests.editing.conftest import SHAPES

ONE_VECTOR = sorted(METHODS.keys() - {"slerp", "model_stock"})
lambdas = st.floats(-2, 2, width=32)


@cache
def peft():
    """PEFT's merge methods: imported by the tests that need them, because this takes as long as all of them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="peft")
        return importlib.import_module("peft.utils.merge_utils")


def by_peft(function, vectors, **settings):
    """Applies a function of PEFT to every tensor, at weights of 1."""
    return {
        name: function([torch.from_numpy(v[name]) for v in vectors], torch.ones(len(vectors)), **settings).numpy()
        for name in vectors[0]
    }


def assert_close(found, expected, tolerance=1e-6):
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype == np.float32
        np.testing.assert_allclose(tensor, expected[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("density", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("method", ["ties", "magnitude_prune"])
def test_trimming_methods_agree_with_peft(vectors, method, density, count):
    inputs = vectors(count)
    expected = by_peft(getattr(peft(), method), inputs, density=density)
    assert_close(METHODS[method](inputs, lam=1.0, density=density), expected)


def test_task_arithmetic_agrees_with_peft(vectors):
    inputs = vectors(4)
    expected = by_peft(peft().task_arithmetic, inputs)
    assert_close(METHODS["task_arithmetic"](inputs, lam=1.0), expected)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_random_methods_agree_with_peft_on_the_same_entries(vectors, method, monkeypatch):
    inputs = vectors(3)
    kept = drop_entries(inputs, 0.4, seed=7)
    found = METHODS[method](inputs, lam=1.0, density=0.4, seed=7)
    for name in SHAPES:
        draws = iter([torch.from_numpy((vector[name] != 0).astype(np.float32)) for vector in kept])
        monkeypatch.setattr(peft().torch, "bernoulli", lambda _, draws=draws: next(draws))
        one = [{name: vector[name]} for vector in inputs]
        assert_close({name: found[name]}, by_peft(getattr(peft(), method), one, density=0.4))


def test_breadcrumbs_agrees_with_mergekits_formula(vectors):
    """mergekit's magnitude_outliers: of n entries in order, those from n - k - top up to n - top."""
    tensor = vectors(1)[0]["decoder.layers.0.fc.weight"]
    top, kept = int(0.01 * tensor.size), int(0.5 * tensor.size)
    order = np.argsort(np.abs(tensor).reshape(-1))
    expected = np.zeros(tensor.size, np.float32)
    chosen = order[tensor.size - kept - top : tensor.size - top]
    expected[chosen] = tensor.reshape(-1)[chosen]
    found = METHODS["breadcrumbs"]([{"a": tensor}], lam=1.0, density=0.5, outliers=0.01)
    assert_close(found, {"a": expected.reshape(tensor.shape)})


def test_slerp_agrees_with_the_formula_in_double_precision(vectors):
    a, b = vectors(2)
    expected = {}
    for name in a:
        x, y = a[name].astype(np.float64), b[name].astype(np.float64)
        angle = np.arccos((x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y))
        expected[name] = (np.sin(0.7 * angle) * x + np.sin(0.3 * angle) * y) / np.sin(angle)
    assert_close(METHODS["slerp"]([a, b], place=0.3), expected)


def test_slerp_of_parallel_vectors_is_linear(vectors):
    (a,) = vectors(1)
    assert_close(METHODS["slerp"]([a, {name: 3 * t for name, t in a.items()}]), {n: 2 * t for n, t in a.items()})


def test_model_stock_agrees_with_mergekits_formula(vectors):
    shared, *own = vectors(4)
    models = [{name: shared[name] + vector[name] for name in vector} for vector in own]
    expected = {}
    for name in shared:
        flat = [model[name].astype(np.float64).reshape(-1) for model in models]
        cosine = np.mean([x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in combinations(flat, 2)])
        share = len(flat) * cosine / (1 + (len(flat) - 1) * cosine)
        expected[name] = (share * np.mean(flat, axis=0)).reshape(shared[name].shape)
    assert_close(METHODS["model_stock"](models), expected, 1e-5)


def test_lines_scales_linearly_with_depth():
    vector = {f"decoder.layers.{i}.w": np.ones(1, np.float32) for i in range(5)}
    found = METHODS["lines"]([vector], lam=1.0, shallowest=0.2)
    np.testing.assert_allclose([float(t[0]) for t in found.values()], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-6)


def test_weight_average_is_the_mean(vectors):
    inputs = vectors(3)
    expected = {name: np.mean([v[name] for v in inputs], axis=0) for name in SHAPES}
    assert_close(METHODS["weight_average"](inputs), expected)


# Properties


@pytest.mark.parametrize("method", ONE_VECTOR)
def test_at_lambda_0_nothing_changes(vectors, method):
    assert all(not tensor.any() for tensor in METHODS[method](vectors(2), lam=0.0).values())


@given(lam=lambdas)
def test_ties_of_one_vector_at_density_1_is_task_arithmetic(lam):
    vector = {"a": np.random.default_rng(1).standard_normal((4, 6), np.float32)}
    expected = METHODS["task_arithmetic"]([vector], lam=lam)
    assert_close(METHODS["ties"]([vector], lam=lam, density=1.0), expected)


def test_ties_of_one_vector_only_trims_and_scales_it(vectors):
    expected = METHODS["magnitude_prune"](vectors(1), lam=0.6, density=0.3)
    assert_close(METHODS["ties"](vectors(1), lam=0.6, density=0.3), expected)


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"slerp", "dare_linear", "dare_ties"}))
def test_the_order_of_vectors_does_not_matter(vectors, method):
    inputs = vectors(3)
    assert_close(METHODS[method](inputs[::-1]), METHODS[method](inputs), 1e-5)


@pytest.mark.parametrize("method", ONE_VECTOR)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 4), size=st.integers(1, 120))
def test_merged_vectors_are_finite_and_keep_their_shape(method, seed, count, size):
    random = np.random.default_rng(seed)
    inputs = [{"a": random.standard_normal(size, np.float32)} for _ in range(count)]
    merged = METHODS[method](inputs)
    assert merged["a"].shape == (size,)
    assert np.isfinite(merged["a"]).all()
    assert merged["a"].any()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_input_vectors_are_not_modified(vectors, method):
    inputs = vectors(2)
    METHODS[method](inputs)
    for vector, untouched in zip(inputs, vectors(2), strict=True):
        assert_close(vector, untouched, 0)


def test_lambda_may_differ_by_part_of_the_name(vectors):
    (vector,) = vectors(1)
    found = METHODS["task_arithmetic"]([vector], lam={"encoder": 0.5, "norm": 0.0, "*": 1.0})
    expected = {name: tensor * (0.5 if "encoder" in name else "norm" not in name) for name, tensor in vector.items()}
    assert_close(found, expected)


# Refused inputs


@pytest.mark.parametrize(
    ("method", "settings", "reason"),
    [
        ("ties", {"density": 0.0}, "density is 0.0; expected a number above 0 and at most 1"),
        ("ties", {"density": 1.5}, "density is 1.5; expected a number above 0 and at most 1"),
        ("ties", {"lam": float("nan")}, "lam is nan; expected a number from -10 to 10"),
        ("ties", {"lam": 1e30}, r"lam is 1e\+30; expected a number from -10 to 10"),
        ("ties", {"lam": "x"}, "lam is 'x'; expected a number from -10 to 10"),
        ("ties", {"lam": {"encoder": "x", "*": 1.0}}, "lam of 'encoder' is 'x'; expected a number from -10 to 10"),
        ("ties", {"lam": {}}, "lam is {}; expected numbers by part of the names"),
        ("ties", {"lam": {"encoder": 1.0}}, "lam has no coefficient for decoder"),
        ("ties", {"scope": "model"}, "scope is 'model'; expected one of tensor, global"),
        ("ties", {"scope": ["tensor"]}, r"scope is \['tensor'\]; expected one of tensor, global"),
        ("ties", {"alpha": 1}, "ties has no alpha; it has lam, density, scope"),
        ("lines", {"shallowest": 7}, "shallowest is 7; expected a number from 0 to 1"),
        ("slerp", {"place": -0.1}, "place is -0.1; expected a number from 0 to 1"),
        ("dare_ties", {"seed": -1}, "seed is -1; expected a whole number from 0 to 4294967295"),
        ("dare_ties", {"seed": 10**30}, "expected a whole number from 0 to 4294967295"),
        ("breadcrumbs", {"outliers": 1.0}, "outliers is 1.0; expected a number of at least 0 and below 1"),
        ("breadcrumbs", {"outliers": 0.6, "density": 0.5}, "outliers is 0.6 and density 0.5; together they must be"),
    ],
)
def test_settings_out_of_range_are_refused(vectors, method, settings, reason):
    with pytest.raises(BadInputError, match=reason):
        METHODS[method](vectors(2), **settings)


@pytest.mark.parametrize("method", METHODS)
def test_settings_are_checked_before_there_are_vectors(method):
    METHODS[method].check(METHODS[method].settings)
    METHODS[method].check({"lam": {"encoder": 0.5}})  # which parameters there are is not known yet
    with pytest.raises(BadInputError, match="lam is 11; expected a number from -10 to 10"):
        METHODS[method].check({"lam": 11})


def test_negation_subtracts_a_vector(vectors):
    (vector,) = vectors(1)
    found = METHODS["task_arithmetic"]([vector], lam=-1.0)
    assert_close(found, {name: -tensor for name, tensor in vector.items()})


def test_what_is_no_list_of_vectors_is_refused(vectors):
    (one,) = vectors(1)
    origin = Origin("moonshine", "ab" * 32, "kitchen")
    for wrong, reason in (
        (one, "the vectors are a dict; expected a list of mappings"),
        (None, "the vectors are a NoneType; expected a list"),
        ([TaskVector(one, origin)], "vector 1 is a TaskVector; .* its attribute tensors is one"),
        ([{"a": [1.0, 2.0]}], "vector 1: a is a list, expected a float32 array"),
        ([{}], "vector 1 has no tensors"),
    ):
        with pytest.raises(BadInputError, match=reason):
            METHODS["ties"](wrong)


def test_a_method_that_does_not_exist_is_a_key_error_with_the_names_of_the_others():
    with pytest.raises(KeyError, match="there is no merge method 'tie'; there are breadcrumbs"):
        METHODS["tie"]
    assert METHODS.get("tie") is None
    assert "tie" not in METHODS


def test_vectors_of_different_names_shapes_or_types_are_refused(vectors):
    a, b = vectors(2)
    with pytest.raises(ValueError, match="nothing to merge"):
        METHODS["ties"]([])
    with pytest.raises(ValueError, match="differs from the first"):
        METHODS["ties"]([a, {**b, "extra": np.zeros(1, np.float32)}])
    with pytest.raises(ValueError, match="shape"):
        METHODS["ties"]([a, {**b, "decoder.norm.bias": np.zeros(3, np.float32)}])
    with pytest.raises(ValueError, match="not finite"):
        METHODS["ties"]([a, {**b, "decoder.norm.bias": np.full(9, np.nan, np.float32)}])
    with pytest.raises(ValueError, match="float64"):
        METHODS["ties"]([a, {**b, "decoder.norm.bias": np.zeros(9)}])


@pytest.mark.parametrize("method", ["slerp", "model_stock"])
def test_methods_that_need_several_vectors_refuse_one(vectors, method):
    with pytest.raises(ValueError, match="two"):
        METHODS[method](vectors(1))


def test_every_method_has_a_summary_a_paper_and_an_oracle():
    assert len(METHODS) == 10
    for method in METHODS.values():
        assert method.summary.endswith(".")
        assert method.paper
        assert method.oracle
        assert "lam" in method.settings


@pytest.mark.parametrize("name", METHODS)
def test_the_result_shares_no_memory_with_the_inputs(name):
    """A caller may therefore add the base to the result in place."""
    random = np.random.default_rng(0)
    vectors = [{"layer.weight": random.standard_normal((7, 5), np.float32)} for _ in range(2)]
    for some in (vectors, vectors[:1]):
        if name in ("slerp", "model_stock") and len(some) < 2:
            continue
        merged = METHODS[name](some)
        assert not any(np.shares_memory(merged["layer.weight"], one["layer.weight"]) for one in some)
