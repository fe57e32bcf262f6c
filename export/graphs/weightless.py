"""The export of a torch module to a graph without weights."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from editing.files import write_atomically
from export.bundle import WEIGHTS

OPSET = 23  # the first with the operator RotaryEmbedding


def export_graph(
    module: nn.Module,
    path: Path,
    *,
    args: tuple[Any, ...],
    dynamic_shapes: tuple[Any, ...],
    inputs: list[str],
    outputs: list[str],
) -> None:
    """Writes the graph of a module, without weights, to `path`.

    Args:
        module: its parameters and buffers become the initialisers without data.
        path: the path of the file; its folder is created if it does not exist.
        args, dynamic_shapes: see `torch.onnx.export`.
        inputs, outputs: their names in the graph.

    Raises:
        StorageError: the file cannot be written.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns about missing torchvision operators
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch, which a caller cannot act on
        program = torch.onnx.export(
            module.eval(),
            args,
            dynamo=True,
            optimize=False,  # optimisation folds transposes into the weights, which loses the names
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=dynamic_shapes,
            verbose=False,
        )
    assert program is not None
    graph = without_weights(program.model_proto, {**dict(module.named_parameters()), **module.state_dict()})
    write_atomically(path, graph.SerializeToString())


def without_weights(model: onnx.ModelProto, weights: Mapping[str, Any]) -> onnx.ModelProto:
    """Removes the data of every initialiser that is among `weights`, and the stack traces of the nodes.

    Changes `model` and returns it. The data are referred to as external data in the bundle's file of weights.

    Args:
        model: the exported graph.
        weights: parameters and buffers of the module; only the names are used.
    """
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            del tensor.external_data[:]
            tensor.external_data.add(key="location", value=WEIGHTS)
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    return model
