"""Bakes weights into a weightless graph, which gives a runnable ONNX file. Needs numpy and onnx, not torch.

int8 quantisation is dynamic: activations are quantised at run time (uint8, per tensor); the weights
of matrix products are quantised in advance, per output channel. The convolutional front end stays
in float, stored as float16 (per-tensor int8 scales there cost Moonshine three points of WER).

Weights are stored as uint8 with a zero point of 128 rather than as int8, with the same values. On
x86 without VNNI, ONNX Runtime multiplies uint8 by int8 with an instruction that saturates at 16
bits, so sums would be wrong on older laptops. With uint8 weights the sums are exact on every
processor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from editing.errors import BadInputError, BundleError, one_line
from editing.files import write_atomically
from export.bundle import PRECISIONS, Bundle, Precision

Arrays = dict[str, NDArray[np.generic]]

ZERO_POINT = 128  # the code of a weight of 0


def bake(
    bundle: Bundle, weights: Mapping[str, NDArray[np.float32]], precision: Precision, out: str | Path
) -> list[Path]:
    """Bakes the weights into every graph of the bundle and writes the files, named as the graphs, to `out`.

    Args:
        bundle: the bundle of the graphs.
        weights: float32 by parameter name; those of the bundle, or the result of a merge.
        precision: "fp32" or "int8".
        out: a folder, created if it does not exist. Each file is written atomically.

    Returns:
        The paths of the files.

    Raises:
        BadInputError: there is no such precision, or the bundle is not one.
        BundleError: a graph is damaged, or needs a weight that is missing or of another shape.
        StorageError: `out` cannot be written.
    """
    _check_arguments(bundle, precision)
    written = []
    for name, path in bundle.graphs().items():
        bundle.check(path.relative_to(bundle.folder).as_posix())
        try:
            model = bake_graph(onnx.load(path, load_external_data=False), weights, precision)
        except BundleError:
            raise
        except Exception as error:  # protobuf, onnx and numpy raise many kinds for a graph that is not one of ours
            raise BundleError(
                f"{path}: is not a graph that can be baked ({one_line(str(error))}); install the bundle again"
            ) from error
        target = Path(out) / f"{name}.onnx"
        write_atomically(target, model.SerializeToString())
        written.append(target)
    return written


def _check_arguments(bundle: object, precision: object) -> None:
    if not isinstance(bundle, Bundle):
        raise BadInputError(f"the bundle is {one_line(repr(bundle), 60)}; expected a Bundle, such as embedded_bundle()")
    if precision not in PRECISIONS:
        raise BadInputError(f"precision is {one_line(repr(precision), 60)}; expected one of {', '.join(PRECISIONS)}")


def bake_graph(
    model: onnx.ModelProto, weights: Mapping[str, NDArray[np.float32]], precision: Precision
) -> onnx.ModelProto:
    """Returns a new model: the graph with the weights, at this precision.

    Args:
        model: a weightless graph.
        weights: float32 by parameter name.
        precision: "fp32" or "int8".

    Raises:
        BundleError: the graph needs a weight that is missing or of another shape.
    """
    arrays, constants = _fill(model.graph, weights)
    nodes, transposed = _fold_constants(model.graph.node, arrays)
    if precision == "int8":
        nodes = _quantise_matmuls(nodes, arrays, transposed)
        nodes = _store_convolutions_as_float16(nodes, arrays, constants)
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        model.graph.name,
        model.graph.input,
        model.graph.output,
        [numpy_helper.from_array(array, name) for name, array in arrays.items() if name in used],
    )
    return helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, producer_name="asr-edge"
    )


def _fill(graph: onnx.GraphProto, weights: Mapping[str, NDArray[np.float32]]) -> tuple[Arrays, set[str]]:
    """The graph's initialisers as arrays, those without data from `weights`; and the names of its constants."""
    arrays: Arrays = {}
    constants = {tensor.name for tensor in graph.initializer if tensor.data_location != TensorProto.EXTERNAL}
    for tensor in graph.initializer:
        if tensor.name in constants:
            arrays[tensor.name] = numpy_helper.to_array(tensor)
        elif tensor.name not in weights:
            raise BundleError(f"the graph needs the weight {tensor.name}, which is missing")
        elif weights[tensor.name].shape != tuple(tensor.dims):
            raise BundleError(
                f"the weight {tensor.name} has shape {weights[tensor.name].shape}; the graph needs {tuple(tensor.dims)}"
            )
        else:
            arrays[tensor.name] = weights[tensor.name]
    return arrays, constants


def _fold_constants(nodes: Iterable[NodeProto], arrays: Arrays) -> tuple[list[NodeProto], dict[str, str]]:
    """Folds transposes and concatenations of weights into new weights, which are added to `arrays`.

    Returns:
        The remaining nodes, and for each transposed array the name of the original.
    """
    remaining, transposed = [], {}
    for node in nodes:
        if node.op_type not in ("Transpose", "Concat") or any(name not in arrays for name in node.input):
            remaining.append(node)
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        inputs = [arrays[name] for name in node.input]
        if node.op_type == "Transpose":
            arrays[node.output[0]] = inputs[0].transpose(attributes["perm"])
            transposed[node.output[0]] = node.input[0]
        else:
            arrays[node.output[0]] = np.concatenate(inputs, attributes["axis"])
    return remaining, transposed


def quantise(weight: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Quantises a weight (inputs, outputs) symmetrically, with one scale per output channel.

    Returns:
        Codes (inputs, outputs) from 1 to 255 and scales (outputs,), such that
        weight is approximately (codes - 128) * scales. A channel of zeros (or subnormal numbers) has scale 1.
    """
    scales = np.abs(weight).max(axis=0, initial=0) / np.float32(127)
    scales[scales < np.finfo(np.float32).tiny] = 1
    # float32 division of the largest entry by its own scale may round to a hair above 127.
    codes = np.clip(np.rint(weight / scales), -127, 127) + ZERO_POINT
    return codes.astype(np.uint8), scales


def _quantise_matmuls(nodes: list[NodeProto], arrays: Arrays, transposed: Mapping[str, str]) -> list[NodeProto]:
    """Replaces each MatMul by a weight with DynamicQuantizeLinear, MatMulInteger and conversion to float.

    ONNX Runtime fuses these nodes into one kernel. A tied embedding (also the weight of the output
    layer) is looked up in the codes, so that it is stored once. The codes and scales are added to `arrays`.
    """
    arrays["weight_zero_point"] = np.array(ZERO_POINT, np.uint8)
    quantised: list[NodeProto] = []
    activations: dict[str, str] = {}  # -> the prefix of the names of its codes, scale and zero point
    products: set[str] = set()  # the outputs of the quantised MatMuls
    codes_of: dict[str, str] = {}  # an array -> its quantised transpose
    for node in nodes:
        if node.op_type != "MatMul" or node.input[1] not in arrays:
            quantised.append(node)
            continue
        activation, weight = node.input
        if activation not in activations:
            # If the activation is itself the output of a quantised MatMul, the name ACTIVATION.scale is taken (below).
            prefix = activations[activation] = f"{activation}.input" if activation in products else activation
            outputs = [f"{prefix}.codes", f"{prefix}.scale", f"{prefix}.zero_point"]
            quantised.append(helper.make_node("DynamicQuantizeLinear", [activation], outputs))
        if f"{weight}.codes" not in arrays:
            array = arrays[weight].astype(np.float32, copy=False)
            arrays[f"{weight}.codes"], arrays[f"{weight}.scale"] = quantise(array)
            if weight in transposed:
                codes_of[transposed[weight]] = weight
        prefix, output = activations[activation], node.output[0]
        products.add(output)
        quantised += [
            helper.make_node(
                "MatMulInteger",
                [f"{prefix}.codes", f"{weight}.codes", f"{prefix}.zero_point", "weight_zero_point"],
                [f"{output}.sum"],
            ),
            helper.make_node("Cast", [f"{output}.sum"], [f"{output}.float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{prefix}.scale", f"{weight}.scale"], [f"{output}.scale"]),
            helper.make_node("Mul", [f"{output}.float", f"{output}.scale"], [output]),
        ]
    looked_up: list[NodeProto] = []
    for node in quantised:
        if node.op_type == "Gather" and node.input[0] in codes_of:
            looked_up += _embedding_lookup(node, codes_of[node.input[0]], arrays)
        else:
            looked_up.append(node)
    return looked_up


def _embedding_lookup(gather: NodeProto, weight: str, arrays: Arrays) -> list[NodeProto]:
    """The nodes that look up rows of an embedding in the codes (hidden, vocabulary) of its transpose.

    Token ids (batch, time) -> codes (hidden, batch, time) -> embeddings (batch, time, hidden), dequantised.
    """
    arrays["embedding_zero_point"] = np.array(ZERO_POINT, np.float32)
    arrays["last_axis"] = np.array([-1], np.int64)
    ids, output = gather.input[1], gather.output[0]
    return [
        helper.make_node("Gather", [f"{weight}.codes", ids], [f"{output}.columns"], axis=1),
        helper.make_node("Transpose", [f"{output}.columns"], [f"{output}.rows"], perm=[1, 2, 0]),
        helper.make_node("Cast", [f"{output}.rows"], [f"{output}.row_codes"], to=TensorProto.FLOAT),
        helper.make_node("Sub", [f"{output}.row_codes", "embedding_zero_point"], [f"{output}.centred"]),
        helper.make_node("Gather", [f"{weight}.scale", ids], [f"{output}.row_scales"], axis=0),
        helper.make_node("Unsqueeze", [f"{output}.row_scales", "last_axis"], [f"{output}.row_scale"]),
        helper.make_node("Mul", [f"{output}.centred", f"{output}.row_scale"], [output]),
    ]


def _store_convolutions_as_float16(nodes: list[NodeProto], arrays: Arrays, constants: set[str]) -> list[NodeProto]:
    """Stores the weights of convolutions as float16; the runtime converts them to float32 once, on loading.

    Constants stay float32: a spectrum computed with a float16 Fourier basis has a noise floor that
    is visible in the logarithm of quiet bins.
    """
    casts = []
    for node in nodes:
        if node.op_type == "Conv" and node.input[1] in arrays and node.input[1] not in constants:
            weight = node.input[1]
            half = arrays.pop(weight).astype(np.float16)
            if not np.isfinite(half).all():
                raise BundleError(f"the weight {weight} is too large for float16")
            arrays[f"{weight}.half"] = half
            casts.append(helper.make_node("Cast", [f"{weight}.half"], [weight], to=TensorProto.FLOAT))
    return casts + nodes
