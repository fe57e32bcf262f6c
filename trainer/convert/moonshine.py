"""Converts published Moonshine files into a model bundle.

    asr-edge convert FOLDER --out BUNDLE
    python -m trainer.convert.moonshine FOLDER --out BUNDLE

The first takes the Hugging Face checkpoint of any size (`config.json`, `model.safetensors`, `tokenizer.json`). The
second takes the published int8 pair (`encoder_model.onnx`, `decoder_model_merged.onnx`) and `tokenizer.json`, and
keeps the published 8-bit codes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer
from numpy.typing import NDArray
from onnx import numpy_helper

from device_app.audio.samples import SAMPLE_RATE
from device_app.data.manifest import read_manifest
from device_app.models.moonshine_checkpoint import LICENCE_TEXT, read_checkpoint
from device_app.paths import RECORDINGS
from editing.errors import AsrEdgeError, BadInputError, one_line
from editing.files import folder_in_one_step
from editing.printable import printable
from export.bundle import GRAPHS, LICENCE, TOKENIZER, WEIGHTS, Bundle, write_record
from export.graphs.moonshine import export_moonshine
from export.weights import QuantisedTensor, write_weights
from trainer import families
from trainer.convert import Checkpoint
from trainer.families import moonshine

# The settings of Moonshine Tiny that differ from transformers' defaults. The published ONNX pair
# has no configuration file.
TINY: Mapping[str, Any] = {
    "vocab_size": 32768,
    "hidden_size": 288,
    "intermediate_size": 1152,
    "encoder_num_hidden_layers": 6,
    "decoder_num_hidden_layers": 6,
    "encoder_num_attention_heads": 8,
    "decoder_num_attention_heads": 8,
    "max_position_embeddings": 194,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.9},
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "decoder_start_token_id": 1,
}

# As published with moonshine-base, and with its single-language versions.
BASE: Mapping[str, Any] = {
    **TINY,
    "hidden_size": 416,
    "intermediate_size": 1664,
    "encoder_num_hidden_layers": 8,
    "decoder_num_hidden_layers": 8,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.62},
}

MODEL_TYPES = frozenset({"moonshine"})
LONGEST_S = 20  # of each recording on which the graphs are verified: the longest segment on the device

PublishedTensors = dict[str, NDArray[np.float32] | QuantisedTensor]


def convert(checkpoint: Checkpoint, out: Path) -> Bundle:
    """Converts a checkpoint of any size (see `trainer.convert.Converter`)."""
    config, tensors = read_checkpoint(checkpoint.folder)
    return _write(
        checkpoint.record(out, "moonshine", config), checkpoint.folder / TOKENIZER, {**tensors}, checkpoint.licence_text
    )


def convert_pair(source: Path, out: Path, name: str = "moonshine-tiny") -> Bundle:
    """Converts the published int8 pair in `source` into the bundle `out`, a new folder.

    Raises:
        BadInputError: files are missing or are not Moonshine's; `out` is not changed.
    """
    tokenizer = source / TOKENIZER
    if not tokenizer.is_file():
        raise BadInputError(
            f"{source}: tokenizer.json is missing "
            "(the wheel useful-moonshine-onnx has it as moonshine_onnx/assets/tokenizer.json)"
        )
    if not (source / "encoder_model.onnx").is_file():
        raise BadInputError(f"{source}: has no encoder_model.onnx; 'asr-edge convert' takes checkpoints")
    record = Bundle(
        folder=out,
        name=name,
        family="moonshine",
        sampling_rate=SAMPLE_RATE,
        config=TINY,
        licence="MIT",
        origin="UsefulSensors/moonshine-tiny, int8 as published in the npm package "
        "@moonshine-ai/moonshine-js 0.1.29; tokenizer from the PyPI package useful-moonshine-onnx",
    )
    return _write(record, tokenizer, read_published_pair(source), LICENCE_TEXT)


def _write(record: Bundle, tokenizer: Path, tensors: PublishedTensors, licence_text: str) -> Bundle:
    """Exports the graphs from torch and verifies them (`moonshine.verify_graphs`) before the bundle appears."""
    values = {name: _values(tensor) for name, tensor in tensors.items()}
    model = moonshine.build(record.config)
    families.load_weights(model, values)
    with folder_in_one_step(record.folder) as folder:
        write_weights(folder / WEIGHTS, tensors)
        shutil.copyfile(tokenizer, folder / TOKENIZER)
        (folder / LICENCE).write_text(licence_text, "utf-8")
        export_moonshine(model, folder / GRAPHS)
        bundle = write_record(replace(record, folder=folder))
        speech = [one.read() for one in read_manifest(RECORDINGS / "manifest.jsonl")]
        moonshine.verify_graphs(model, bundle, values, [audio[: LONGEST_S * SAMPLE_RATE] for audio in speech])
    return Bundle.open(record.folder)


def write_graphs(config: Mapping[str, Any], name: str, out: Path) -> Bundle:
    """Writes a bundle that has only the graphs of an architecture, as asr-edge includes it for `model pull`.

    Args:
        config: the configuration of the model, as in `model.json`.
        name: the name of the model.
        out: a new folder.
    """
    with folder_in_one_step(out) as folder:
        export_moonshine(moonshine.build(config), folder / GRAPHS)
        write_record(
            Bundle(
                folder=folder,
                name=name,
                family="moonshine",
                sampling_rate=SAMPLE_RATE,
                config=config,
                licence="MIT",
                origin="graphs of asr-edge; no weights",
            )
        )
    return Bundle.open(out)


def read_published_pair(source: Path) -> PublishedTensors:
    """Reads the tensors of the published int8 ONNX pair, under the names of transformers.

    A linear layer's name is that of the MatMulInteger node that multiplies with its weights; convolutions, embeddings,
    norms and biases are initialisers under their own names. The decoder's graph has two branches of an If node, whose
    initialisers end in "_merged_0".

    Raises:
        BadInputError: a file is missing or is not ONNX.
    """
    tensors: PublishedTensors = {}
    for file_name, prefix in (("encoder_model.onnx", "model.encoder."), ("decoder_model_merged.onnx", "")):
        path = source / file_name
        try:
            model = onnx.load(path)
        except Exception as error:  # protobuf raises exceptions of several classes, none of them public
            raise BadInputError(f"{path}: cannot be read as ONNX ({one_line(str(error))})") from error
        nodes = list(_all_nodes(model.graph))
        arrays = {
            tensor.name: numpy_helper.to_array(tensor)
            for graph in _all_graphs(model.graph)
            for tensor in graph.initializer
        }
        tensors |= {prefix + name: tensor for name, tensor in _matmul_weights(nodes, arrays)}
        tensors |= {prefix + name: tensor for name, tensor in _other_weights(arrays)}
        if prefix:
            # The encoder's only two float tensors of this shape are the group norm's gain and bias, in this order.
            gain, bias = (a.reshape(-1) for a in arrays.values() if a.shape == (TINY["hidden_size"], 1))
            tensors |= {prefix + "groupnorm.weight": gain, prefix + "groupnorm.bias": bias}
    return tensors


def _matmul_weights(
    nodes: list[onnx.NodeProto], arrays: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[str, QuantisedTensor]]:
    """The weights of linear layers, named by the nodes that multiply with them."""
    for node in nodes:
        module = re.fullmatch(r"/(.+)/MatMul_quant", node.name)
        if node.op_type != "MatMulInteger" or not module or node.input[1] not in arrays:
            continue
        stem = node.input[1].removesuffix("_quantized")
        scale = float(arrays[stem + "_scale"])
        zero_point = float(arrays[stem + "_zero_point"])
        name = _renamed(module[1].replace("/", ".")) + ".weight"
        yield name, QuantisedTensor(arrays[node.input[1]].T, scale, -zero_point * scale)


def _other_weights(
    arrays: Mapping[str, NDArray[Any]],
) -> Iterator[tuple[str, NDArray[np.float32] | QuantisedTensor]]:
    """The tensors that are stored under their own names: convolutions, embeddings, norms and all biases."""
    for stored, array in arrays.items():
        name = _renamed(stored.replace("_merged_0", ""))
        if convolution := re.fullmatch(r"(conv\d\.weight)_quantized", name):
            stem = convolution[1]
            # For convolutions, the published file adds its "zero point", a float, after scaling.
            yield (
                stem,
                QuantisedTensor(array, arrays[stem + "_scale"].item(), arrays[stem + "_zero_point"].item()),
            )
        elif name == "model.decoder.embed_tokens.weight_quantized":
            stem = stored.removesuffix("_quantized")
            scale = float(arrays[stem + "_scale"])
            zero_point = float(arrays[stem + "_zero_point"])
            yield name.removesuffix("_quantized"), QuantisedTensor(array, scale, -zero_point * scale)
        elif re.fullmatch(r"[a-z].*(norm\.weight|\.bias)", name):
            yield name, array


def _renamed(name: str) -> str:
    """The name in transformers of a parameter, or a part of one, in the published files."""
    name = name.replace("_attn.dense", "_attn.o_proj")
    return name.replace("mlp.up_proj", "mlp.fc1").replace("mlp.down_proj", "mlp.fc2")


def _all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _all_graphs(attribute.g)


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for inner in _all_graphs(graph):
        yield from inner.node


def _values(tensor: NDArray[np.float32] | QuantisedTensor) -> NDArray[np.float32]:
    return tensor.dequantise() if isinstance(tensor, QuantisedTensor) else tensor


def main(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="The published files.")],
    out: Annotated[Path, typer.Option(help="The bundle to write: a new folder.")],
    name: Annotated[str, typer.Option(help="The model's display name.")] = "moonshine-tiny",
) -> None:
    """Convert published Moonshine files into a model bundle."""
    try:
        bundle = convert_pair(source, out, name)
    except AsrEdgeError as error:
        typer.echo(printable(f"trainer.convert.moonshine: {error}"), err=True)
        raise typer.Exit(1) from None
    typer.echo(printable(f"{bundle.folder}: {bundle.name}, weights {bundle.weights_hash[:8]}"))


if __name__ == "__main__":
    typer.run(main)
