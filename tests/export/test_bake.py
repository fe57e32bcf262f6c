import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

from editing.errors import BundleError
from export.bake import bake, bake_graph, quantise


def weightless(name, shape):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights.safetensors")
    return tensor


def graph(nodes, inputs, outputs, weights, constants=()):
    """Builds a weightless graph as export.graphs does; inputs and outputs are (name, type, shape)."""
    values = [[helper.make_tensor_value_info(*value) for value in values] for values in (inputs, outputs)]
    return helper.make_model(
        helper.make_graph(nodes, "test", *values, [*(weightless(*weight) for weight in weights), *constants]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


def run(model, **feed):
    onnx.checker.check_model(model)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)


@given(
    weight=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(-1e3, 1e3, width=32)
    )
)
def test_quantised_weights_are_within_half_a_quantisation_step(weight):
    codes, scales = quantise(weight)
    assert codes.dtype == np.uint8
    assert codes.min() >= 1
    np.testing.assert_allclose((codes.astype(np.float64) - 128) * scales, weight, atol=0.501 * scales.max())
    assert (np.abs((codes - 128.0) * scales - weight) <= 0.501 * scales).all()


def test_a_channel_of_zeros_is_quantised_to_zeros():
    codes, scales = quantise(np.zeros((3, 2), np.float32))
    assert (codes == 128).all()
    assert (scales == 1).all()


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("int8", 0.02)])
def test_a_baked_linear_layer_computes_its_product(precision, tolerance):
    """As torch exports it: the parameter (outputs, inputs) is transposed in the graph."""
    random = np.random.default_rng(0)
    weight, x = random.standard_normal((7, 5), np.float32), random.standard_normal((2, 3, 5), np.float32)
    model = graph(
        [
            helper.make_node("Transpose", ["layer.weight"], ["t"], perm=[1, 0]),
            helper.make_node("MatMul", ["x", "t"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, ["batch", "time", 5])],
        [("y", TensorProto.FLOAT, ["batch", "time", 7])],
        [("layer.weight", (7, 5))],
    )
    (found,) = run(bake_graph(model, {"layer.weight": weight}, precision), x=x)
    expected = x @ weight.T
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("int8", 0.01)])
def test_a_tied_embedding_is_stored_once_and_looked_up(precision, tolerance):
    weight = np.random.default_rng(0).standard_normal((50, 8), np.float32)
    model = graph(
        [
            helper.make_node("Gather", ["embed", "ids"], ["x"]),
            helper.make_node("Transpose", ["embed"], ["t"], perm=[1, 0]),
            helper.make_node("MatMul", ["x", "t"], ["logits"]),
        ],
        [("ids", TensorProto.INT64, ["batch", "time"])],
        [
            ("x", TensorProto.FLOAT, ["batch", "time", 8]),
            ("logits", TensorProto.FLOAT, ["batch", "time", 50]),
        ],
        [("embed", (50, 8))],
    )
    baked = bake_graph(model, {"embed": weight}, precision)
    ids = np.array([[3, 49], [0, 7]])
    found, _ = run(baked, ids=ids)
    assert np.abs(found - weight[ids]).max() <= tolerance * np.abs(weight).max()
    if precision == "int8":
        assert [t.name for t in baked.graph.initializer if t.dims == [8, 50]] == ["t.codes"]
        assert "embed" not in {t.name for t in baked.graph.initializer}


def test_concatenated_weights_become_one_product():
    weights = {name: np.random.default_rng(i).standard_normal((4, 4), np.float32) for i, name in enumerate("qkv")}
    model = graph(
        [
            helper.make_node("Concat", ["q", "k", "v"], ["joint"], axis=0),
            helper.make_node("Transpose", ["joint"], ["t"], perm=[1, 0]),
            helper.make_node("MatMul", ["x", "t"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, [1, 4])],
        [("y", TensorProto.FLOAT, [1, 12])],
        [(name, (4, 4)) for name in "qkv"],
    )
    baked = bake_graph(model, weights, "fp32")
    assert [node.op_type for node in baked.graph.node] == ["MatMul"]
    x = np.ones((1, 4), np.float32)
    np.testing.assert_allclose(run(baked, x=x)[0], x @ np.concatenate([*weights.values()]).T, rtol=1e-5)


def test_convolutions_stay_in_float():
    weight = np.random.default_rng(0).standard_normal((4, 1, 3), np.float32)
    model = graph(
        [helper.make_node("Conv", ["x", "conv.weight"], ["y"])],
        [("x", TensorProto.FLOAT, [1, 1, 20])],
        [("y", TensorProto.FLOAT, [1, "channels", 18])],
        [("conv.weight", (4, 1, 3))],
    )
    x = np.random.default_rng(1).standard_normal((1, 1, 20), np.float32)
    exact, half = (run(bake_graph(model, {"conv.weight": weight}, p), x=x)[0] for p in ("fp32", "int8"))
    np.testing.assert_allclose(half, exact, atol=2e-3)


def test_a_weight_too_large_for_half_precision_is_refused():
    model = graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        [("x", TensorProto.FLOAT, [1, 1, 20])],
        [("y", TensorProto.FLOAT, [1, "channels", 18])],
        [("w", (1, 1, 3))],
    )
    with np.errstate(over="ignore"), pytest.raises(BundleError, match="too large"):
        bake_graph(model, {"w": np.full((1, 1, 3), 1e6, np.float32)}, "int8")


def test_a_missing_weight_or_one_of_another_shape_is_named():
    model = graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", TensorProto.FLOAT, [1, 2])],
        [("y", TensorProto.FLOAT, [1, 3])],
        [("w", (2, 3))],
    )
    with pytest.raises(BundleError, match="the weight w, which is missing"):
        bake_graph(model, {}, "fp32")
    with pytest.raises(BundleError, match=r"w has shape \(3, 2\)"):
        bake_graph(model, {"w": np.zeros((3, 2), np.float32)}, "fp32")


def test_the_embedded_model_bakes_to_at_most_32_megabytes(bundle, tmp_path):
    files = bake(bundle, bundle.weights(), "int8", tmp_path)
    assert sorted(path.name for path in files) == ["decoder.onnx", "encoder.onnx"]
    assert sum(path.stat().st_size for path in files) <= 32e6
    for path in files:
        onnx.checker.check_model(str(path))


def test_baking_twice_gives_the_same_bytes(bundle, tmp_path):
    weights = bundle.weights()
    first, second = (bake(bundle, weights, "int8", tmp_path / name) for name in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_embedded_graphs_have_no_weights(bundle):
    parameters = set(bundle.weights())
    named = set()
    for path in bundle.graphs().values():
        assert path.stat().st_size < 200_000
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            if tensor.data_location == TensorProto.EXTERNAL:
                named.add(tensor.name)
            else:
                assert numpy_helper.to_array(tensor).size <= 64
    assert named == parameters
