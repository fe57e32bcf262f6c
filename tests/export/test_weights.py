import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file

from editing.errors import BundleError
from export.weights import QuantisedTensor, read_weights, write_weights


@given(
    codes=hnp.arrays(st.sampled_from([np.int8, np.uint8]), hnp.array_shapes(max_dims=3, max_side=5)),
    scale=st.floats(1e-6, 10),
    offset=st.floats(-10, 10),
)
def test_dequantising_is_affine_and_rounds_once(codes, scale, offset):
    expected = (codes.astype(np.float64) * scale + offset).astype(np.float32)
    np.testing.assert_array_equal(QuantisedTensor(codes, scale, offset).dequantise(), expected)


def test_float_and_quantised_tensors_are_read_as_values(tmp_path):
    whole = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    quantised = QuantisedTensor(np.arange(-6, 6, dtype=np.int8).reshape(3, 4), 0.1, 0.0)
    write_weights(tmp_path / "w", {"whole": whole, "codes": quantised})
    found = read_weights(tmp_path / "w")
    np.testing.assert_array_equal(found["whole"], whole)
    np.testing.assert_array_equal(found["codes"], quantised.dequantise())
    assert sorted(found) == ["codes", "whole"]


def test_a_published_int8_weight_is_stored_without_loss():
    """(code - zero point) * scale in float32, as ONNX Runtime dequantises it."""
    scale, zero_point = float(np.float32(0.0123)), 131
    codes = np.arange(256, dtype=np.uint8)
    published = (codes.astype(np.int32) - zero_point).astype(np.float32) * np.float32(scale)
    np.testing.assert_array_equal(QuantisedTensor(codes, scale, -zero_point * scale).dequantise(), published)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(tmp_path, value):
    save_file({"bad": np.array([1, value], np.float32)}, tmp_path / "w")
    with pytest.raises(BundleError, match="bad contains values that are not finite"):
        read_weights(tmp_path / "w")


def test_codes_without_their_scale_are_refused(tmp_path):
    save_file({"codes": np.zeros(3, np.int8)}, tmp_path / "w")
    with pytest.raises(BundleError, match=r"codes\.scale"):
        read_weights(tmp_path / "w")


def test_a_file_that_is_not_safetensors_is_refused(tmp_path):
    (tmp_path / "w").write_bytes(b"\x80\x04\x95pickle")
    with pytest.raises(BundleError, match="safetensors"):
        read_weights(tmp_path / "w")
