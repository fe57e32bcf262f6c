"""Arithmetic of task vectors, the size and precision of their files, and the refusal of invalid files."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from editing.errors import TaskVectorError, WrongBaseError
from editing.sparsify import trim
from editing.task_vector import RECORD, Origin, TaskVector, apply, read_origin, summarise

ORIGIN = Origin("moonshine", "ab" * 32, "kitchen", utterances=3, seconds=9.5, scores={"kitchen": 0.25})


@pytest.fixture
def vector(vectors):
    return TaskVector(vectors(1)[0], ORIGIN)


@pytest.fixture
def file(vector, tmp_path):
    path = tmp_path / "kitchen.safetensors"
    vector.save(path)
    return path


def record_of(path):
    with safe_open(path, framework="numpy") as opened:
        return json.loads(opened.metadata()[RECORD])


def rewritten(path, *, record=None, tensors=None, drop=()):
    """Changes a file as an attacker might."""
    with safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata()
    stored = {name: t for name, t in {**load_file(path), **(tensors or {})}.items() if name not in drop}
    before = json.loads(metadata[RECORD])
    save_file(stored, path, metadata={RECORD: json.dumps({**before, **(record or {})})})
    return path


def test_adding_the_difference_to_the_old_weights_gives_the_new_ones(vectors):
    before, after = vectors(2)
    vector = TaskVector.difference(after, before, ORIGIN)
    for name, tensor in apply(before, vector.tensors).items():
        np.testing.assert_allclose(tensor, after[name], atol=1e-6)


def test_the_difference_of_models_of_other_names_or_shapes_is_refused(vectors):
    before, after = vectors(2)
    with pytest.raises(TaskVectorError, match="extra"):
        TaskVector.difference({**after, "extra": np.zeros(1, np.float32)}, before, ORIGIN)
    with pytest.raises(TaskVectorError, match="shape"):
        TaskVector.difference({**after, "decoder.norm.bias": np.zeros(2, np.float32)}, before, ORIGIN)
    with pytest.raises(TaskVectorError, match="not finite"):
        TaskVector.difference({**after, "decoder.norm.bias": np.full(9, np.inf, np.float32)}, before, ORIGIN)


def test_norm_cosine_sum_and_scale(vectors):
    a, b = (TaskVector(vector, ORIGIN) for vector in vectors(2))
    flat_a, flat_b = (np.concatenate([t.reshape(-1) for t in v.tensors.values()]).astype(np.float64) for v in (a, b))
    assert a.norm == pytest.approx(np.linalg.norm(flat_a))
    assert a.cosine(b) == pytest.approx(flat_a @ flat_b / np.linalg.norm(flat_a) / np.linalg.norm(flat_b))
    assert a.cosine(a.scaled(-2)) == pytest.approx(-1)
    assert (a + b).norm == pytest.approx(np.linalg.norm(flat_a + flat_b))
    assert sum(norm**2 for norm in a.layers().values()) == pytest.approx(a.norm**2)


def test_a_file_keeps_the_origin_and_the_values_to_a_254th_of_the_largest_of_the_row(vector, file):
    found = TaskVector.load(file)
    assert found.origin == read_origin(file) == ORIGIN
    for name, tensor in vector.tensors.items():
        allowed = np.abs(tensor).max(axis=-1, keepdims=True) / 253 if tensor.ndim > 1 else 0
        assert (np.abs(found.tensors[name] - tensor) <= allowed).all()


@given(rows=st.integers(1, 9), columns=st.integers(1, 40), density=st.floats(0.02, 1), seed=st.integers(0, 999))
def test_storing_a_stored_vector_again_changes_it_by_rounding_at_most(rows, columns, density, seed):
    tensor = trim(np.random.default_rng(seed).standard_normal((rows, columns), np.float32), density)
    once = TaskVector({"a": tensor}, ORIGIN).as_stored()
    np.testing.assert_allclose(once.as_stored().tensors["a"], once.tensors["a"], rtol=1e-6)
    np.testing.assert_array_equal(once.tensors["a"] == 0, (once.as_stored().tensors["a"]) == 0)


@given(
    shape=st.sampled_from([(), (0,), (3,), (0, 4), (2, 3), (2, 3, 4)]), scale=st.sampled_from([0.0, 1e-38, 1e-6, 1e30])
)
def test_any_shape_and_scale_is_stored_and_loaded(tmp_path_factory, shape, scale):
    path = tmp_path_factory.mktemp("vector") / "v.safetensors"
    tensor = (np.random.default_rng(0).standard_normal(shape) * scale).astype(np.float32)
    vector = TaskVector({"a": tensor}, ORIGIN).as_stored()
    vector.save(path)
    np.testing.assert_array_equal(TaskVector.load(path).tensors["a"], vector.tensors["a"])


@given(rows=st.integers(1, 9), columns=st.integers(1, 41), density=st.floats(0.02, 1), seed=st.integers(0, 9999))
def test_a_file_keeps_the_values_of_a_rounded_vector_exactly(tmp_path_factory, rows, columns, density, seed):
    path = tmp_path_factory.mktemp("vector") / "v.safetensors"
    random = np.random.default_rng(seed)
    tensor = trim(
        random.standard_normal((rows, columns), np.float32) * np.float32(10.0 ** random.integers(-9, 9)), density
    )
    vector = TaskVector({"a": tensor, "zeros": np.zeros(5, np.float32)}, ORIGIN).as_stored()
    vector.save(path)
    found = TaskVector.load(path)
    np.testing.assert_array_equal(found.tensors["a"], vector.tensors["a"])
    assert summarise(path).norm == pytest.approx(vector.norm)
    assert found.to_bytes() == path.read_bytes()


def test_a_rounded_vector_has_four_bits_and_an_earlier_version_is_told_so(vector, tmp_path):
    vector.as_stored().save(path := tmp_path / "v.safetensors")
    stored = load_file(path)
    assert any(name.startswith("nibbles/") for name in stored)
    assert not any(name.startswith("codes/") for name in stored)
    assert record_of(path)["format_version"] == 2
    vector.save(path)  # not rounded, so eight bits, which earlier versions read
    assert record_of(path)["format_version"] == 1
    for name, tensor in vector.tensors.items():
        change = np.linalg.norm(vector.as_stored().tensors[name] - tensor)
        assert change <= 0.15 * np.linalg.norm(tensor)


def test_a_tensor_that_four_bits_change_too_much_has_eight(tmp_path):
    tensor = np.random.default_rng(0).standard_normal((4, 5000), np.float32)
    tensor[:, 0] = 100  # the others are less than half a step
    rounded = TaskVector({"a": tensor}, ORIGIN).as_stored()
    rounded.save(path := tmp_path / "v.safetensors")
    assert load_file(path)["codes/a"].dtype == np.int8
    assert np.linalg.norm(rounded.tensors["a"] - tensor) < 0.25 * np.linalg.norm(tensor[:, 1:])


def test_the_vector_of_an_encoder_takes_four_megabytes(bundle):
    random = np.random.default_rng(0)
    tensors = {
        name: random.standard_normal(tensor.shape, np.float32) * np.float32("encoder." in name)
        for name, tensor in bundle.weights().items()
    }
    assert len(TaskVector(tensors, ORIGIN).as_stored().to_bytes()) <= 4e6


def test_the_same_vector_gives_the_same_bytes(vector):
    assert vector.to_bytes() == vector.to_bytes()


def test_a_trimmed_vector_is_a_sixth_of_the_model(bundle, tmp_path):
    random = np.random.default_rng(0)
    shapes = {name: tensor.shape for name, tensor in bundle.weights().items()}
    tensors = {name: trim(random.standard_normal(shape, np.float32), 0.5) for name, shape in shapes.items()}
    data = TaskVector(tensors, ORIGIN).to_bytes()
    assert len(data) < 0.165 * 4 * sum(tensor.size for tensor in tensors.values())


# Checks against a model


def test_a_vector_from_another_base_is_refused(vector):
    shapes = {name: tensor.shape for name, tensor in vector.tensors.items()}
    vector.check("ab" * 32, shapes, "kitchen")
    with pytest.raises(WrongBaseError, match=r"kitchen: taken from base abababab, but this device runs cdcdcdcd"):
        vector.check("cd" * 32, shapes, "kitchen")


def test_a_vector_of_other_tensors_is_refused_and_the_tensor_is_named(vector):
    shapes = {name: tensor.shape for name, tensor in vector.tensors.items()}
    with pytest.raises(TaskVectorError, match="other is missing"):
        vector.check("ab" * 32, {**shapes, "other": (1,)}, "kitchen")
    with pytest.raises(TaskVectorError, match=r"decoder.norm.bias is unknown"):
        vector.check("ab" * 32, {n: s for n, s in shapes.items() if "norm" not in n}, "kitchen")
    with pytest.raises(TaskVectorError, match=r"decoder.norm.bias has shape \(9,\), expected \(8,\)"):
        vector.check("ab" * 32, {**shapes, "decoder.norm.bias": (8,)}, "kitchen")


# Invalid files


def test_a_renamed_pickle_is_refused_without_being_loaded(tmp_path):
    path = tmp_path / "v.safetensors"
    path.write_bytes(pickle.dumps({"a": np.ones(3)}))
    with pytest.raises(TaskVectorError, match="not a task vector"):
        TaskVector.load(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(file, share):
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(TaskVectorError, match="truncated"):
        TaskVector.load(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TaskVectorError, match=r"none.safetensors: there is no such file"):
        TaskVector.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"record": {"format_version": 9}}, "format version 9"),
        ({"record": {"base": 5}}, "base"),
        ({"record": {"scores": {"a": "b"}}}, "scores"),
        ({"record": {"shapes": None}}, "shapes"),
        ({"record": {"shapes": {"a": [-1]}}}, "shapes"),
        ({"record": {"shapes": {"a": [10**7, 10**7]}}}, "more entries than any"),
        ({"tensors": {"whole/extra": np.zeros(2, np.float32)}}, "record does not name"),
        ({"tensors": {"whole/decoder.norm.bias": np.full(9, np.nan, np.float32)}}, "not finite"),
        ({"tensors": {"whole/decoder.norm.bias": np.zeros(8, np.float32)}}, "damaged"),
        ({"tensors": {"codes/encoder.layers.0.fc.weight": np.zeros((7, 4), np.int8)}}, "damaged"),
        ({"tensors": {"scale/encoder.layers.0.fc.weight": np.full(7, np.inf, np.float32)}}, "not finite"),
        ({"tensors": {"mask/encoder.layers.0.fc.weight": np.zeros(5, np.uint8)}}, "damaged"),
        ({"drop": ["scale/encoder.layers.0.fc.weight"]}, "damaged"),
    ],
)
def test_a_manipulated_file_is_refused(file, change, reason):
    with pytest.raises(TaskVectorError, match=reason) as raised:
        TaskVector.load(rewritten(file, **change))
    assert str(file) in str(raised.value)


def test_other_safetensors_files_are_refused(tmp_path):
    path = tmp_path / "v.safetensors"
    save_file({"a": np.zeros(1, np.float32)}, path)
    with pytest.raises(TaskVectorError, match="not a task vector"):
        TaskVector.load(path)


def test_a_sum_that_overflows_is_refused():
    huge = {"a": np.full(3, 3e38, np.float32)}
    with pytest.raises(TaskVectorError, match="smaller lambda"):
        apply(huge, huge)


def test_the_sum_can_be_computed_in_place():
    base, vector = {"a": np.ones(3, np.float32)}, {"a": np.full(3, 2, np.float32)}
    place = vector["a"]
    assert apply(base, vector, out=vector)["a"] is place
    assert place.tolist() == [3, 3, 3]
    assert base["a"].tolist() == [1, 1, 1]


# Files of earlier versions


def test_a_file_of_version_0_1_0_is_read_and_written_byte_for_byte():
    """files/version-1.safetensors was written by asr-edge 0.1.0 at commit 767e81d."""
    path = Path(__file__).parent / "files" / "version-1.safetensors"
    vector = TaskVector.load(path)
    assert vector.to_bytes() == path.read_bytes()
    assert vector.origin == Origin(
        "moonshine",
        "ab" * 32,
        "kitchen",
        "2025-11-03T10:00:00+00:00",
        3,
        9.5,
        "trim",
        0.5,
        {"kitchen": 0.25, "küche": 1},
    )
    shapes = {name: tensor.shape for name, tensor in vector.tensors.items()}
    assert list(shapes.values()) == [(7, 5), (6, 10), (9,), (40, 30), (), (0, 4), (1, 2, 2)]
    assert vector.norm == pytest.approx(26.567684626177602)
    fitted = TaskVector.load(path, base="ab" * 32, shapes=shapes)
    assert fitted.to_bytes() == path.read_bytes()
    assert all(tensor.flags.writeable for name, tensor in fitted.tensors.items() if "frozen" in name)


def test_a_rounded_vector_stays_exact_and_small_when_entries_are_left_out(tmp_path):
    random = np.random.default_rng(5)
    rounded = TaskVector({"a": random.standard_normal((300, 400), np.float32)}, ORIGIN).as_stored().tensors["a"]
    kept = random.random((300, 400)) < 0.9
    # Every third row loses its largest entries, by which its scale is found.
    kept[::3] &= np.abs(rounded[::3]) < np.abs(rounded[::3]).max(axis=1, keepdims=True)
    vector = TaskVector({"a": np.where(kept, rounded, np.float32(0))}, ORIGIN)
    vector.save(path := tmp_path / "v.safetensors")
    np.testing.assert_array_equal(TaskVector.load(path).tensors["a"], vector.tensors["a"])
    assert len(vector.to_bytes()) <= len(TaskVector({"a": rounded}, ORIGIN).to_bytes())
