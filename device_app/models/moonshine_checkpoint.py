"""Installs published Moonshine checkpoints as bundles, without torch.

Graphs have no weights, so every checkpoint of the same architecture can use the same ones. Those of the published
architectures come with asr-edge: Tiny with the embedded model, Base as a bundle without weights. They fit any
vocabulary: its size is a dimension of the embedding and of the output, and no other node depends on it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from tokenizers import Tokenizer

from device_app.extras import how_to_install
from device_app.models.bundles import EMBEDDED_NAME, embedded_bundle, models_folder
from device_app.models.hub import download
from device_app.models.model_card import CARD, ModelCard, licence_text, read_card
from device_app.paths import ASSETS
from editing.errors import BadInputError, counted, one_line
from editing.files import folder_in_one_step
from editing.json_text import read_json
from export.bundle import GRAPHS, LICENCE, TOKENIZER, WEIGHTS, Bundle, write_record
from export.weights import Tensors, read_weights, write_weights

OWNER = "UsefulSensors"  # the authors' name on the hub
NAME = re.compile(r"\w[\w.-]*")  # of a model, or of an owner on the hub
PREFIX = "moonshine-"  # of the names of their models
FILES = ("config.json", "model.safetensors", "tokenizer.json")
DESCRIPTION = (CARD, "config.json", "LICENSE*")  # small; downloaded before the user decides

# Bundles with graphs of the published architectures; all but the embedded one have no weights.
GRAPH_BUNDLES = (ASSETS / "moonshine-base",)

EMBEDDING = "model.decoder.embed_tokens.weight"  # (vocabulary, hidden), also the output layer
ARCHITECTURE = (  # what the graphs depend on
    "hidden_size",
    "intermediate_size",
    "encoder_num_hidden_layers",
    "decoder_num_hidden_layers",
    "encoder_num_attention_heads",
    "decoder_num_attention_heads",
    "rope_parameters",
)
CONFIG_KEYS = (  # numbers that a bundle keeps
    "vocab_size",
    *ARCHITECTURE[:-1],  # all but rope_parameters, which is no number
    "max_position_embeddings",
    "bos_token_id",
    "eos_token_id",
    "decoder_start_token_id",
)
# Settings of transformers that the graphs do not read, with the values that they have in all published models.
FIXED = {"encoder_hidden_act": "gelu", "decoder_hidden_act": "silu", "attention_bias": False}

HEADS = ("encoder_num_key_value_heads", "decoder_num_key_value_heads")  # as many as attention heads

LICENCE_TEXT = """\
MIT License

Copyright (c) 2024 Useful Sensors

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


@dataclass(frozen=True)
class PublishedModel:
    """A model that can be installed.

    Attributes:
        name: the name that it gets.
        source: its name on the hub, or the folder of its files.
        folder: where its description is; all of its files if it is not on the hub.
        card: its languages and licence.
        is_on_hub: whether `source` is a name on the hub.
    """

    name: str
    source: str
    folder: Path
    card: ModelCard
    is_on_hub: bool


def _check_files(folder: Path) -> None:
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise BadInputError(f"{folder}: not a Moonshine checkpoint ({', '.join(missing)} missing)")


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], Tensors]:
    """Reads the configuration and the tensors of an fp32 Moonshine checkpoint from the hub.

    Returns:
        The configuration that a bundle keeps, and the tensors by their names in torch, without the output layer, which
        is tied to the embedding.

    Raises:
        BadInputError: files are missing, damaged, or of another model.
    """
    _check_files(folder)
    try:
        published = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise BadInputError(f"{folder / 'config.json'}: cannot be read ({one_line(str(error))})") from error
    if not isinstance(published, dict) or published.get("model_type") != "moonshine":
        raise BadInputError(f"{folder / 'config.json'}: not the configuration of a Moonshine model")
    invalid = [key for key in CONFIG_KEYS if type(published.get(key)) is not int or published[key] < 1]
    if invalid:
        raise BadInputError(f"{folder / 'config.json'}: lacks {', '.join(invalid)}, or has other values than numbers")
    other = [key for key, value in FIXED.items() if published.get(key, value) != value]
    other += [
        key for key in HEADS if published.get(key) not in (None, published[key.replace("key_value", "attention")])
    ]
    if other:
        raise BadInputError(f"{folder / 'config.json'}: has {', '.join(other)} that no published Moonshine has")
    config = {key: published[key] for key in CONFIG_KEYS}
    # Before version 5, transformers wrote the rotary settings as separate keys.
    rope = published.get("rope_parameters") or published
    if not isinstance(rope, dict):
        raise BadInputError(f"{folder / 'config.json'}: rope_parameters is not an object")
    config["rope_parameters"] = {  # the defaults are those of transformers' MoonshineConfig
        "rope_type": "default",
        "rope_theta": rope.get("rope_theta", 10000.0),
        "partial_rotary_factor": rope.get("partial_rotary_factor", 0.9),
    }
    config["pad_token_id"] = config["eos_token_id"]  # the checkpoint has none, but training needs one
    tensors = read_weights(folder / "model.safetensors")
    tensors.pop("proj_out.weight", None)  # tied to the embedding
    return config, tensors


def describe(name: str, folder: Path | None = None) -> PublishedModel:
    """Finds a model by its name and reads its licence and languages; downloads only these small files.

    Args:
        name: the name of one of the authors' models, such as moonshine-base, or owner/name on the hub.
        folder: the folder of its files, if they are here; nothing is downloaded then.

    Raises:
        BadInputError: this is not the name of such a model, the folder lacks files, or the card cannot be read.
        NetworkError: the hub cannot be reached and the model is not in its cache.
    """
    if folder is not None:
        owner, _, rest = name.rpartition("/")
        checked = _checked_name(rest if NAME.fullmatch(owner) else name)
        _check_files(folder)
        return PublishedModel(checked, str(folder), folder, read_card(folder), is_on_hub=False)
    if "/" not in name and not name.startswith(PREFIX):
        raise BadInputError(
            f"{name}: not a model that can be pulled; expected moonshine-tiny, moonshine-base, another of the authors' "
            "models on the Hugging Face hub (moonshine-tiny-ja ...), or OWNER/NAME there. "
            "'asr-edge convert' takes other models that you have downloaded"
        )
    repository = name if "/" in name else f"{OWNER}/{name}"
    checked = _checked_name(repository.rpartition("/")[2])
    found = download(repository, DESCRIPTION, _remedy())
    return PublishedModel(checked, repository, found, read_card(found), is_on_hub=True)


def fetch(model: PublishedModel) -> Path:
    """Downloads the files of a model into the hub's cache, unless they are there; returns their folder.

    Raises:
        NetworkError: the hub cannot be reached and the model is not in the cache.
    """
    return download(model.source, (*DESCRIPTION, *FILES), _remedy()) if model.is_on_hub else model.folder


def _remedy() -> str:
    return (
        f"The embedded model works offline; or download {', '.join(FILES)} and {CARD} elsewhere and pass their "
        "folder to --from"
    )


def _checked_name(name: str) -> str:
    if name == EMBEDDED_NAME:
        raise BadInputError(f"{name!r} cannot be a model's name: it is that of the model that comes with asr-edge")
    if Path(name).name != name or not NAME.fullmatch(name):
        raise BadInputError(
            f"{name!r} cannot be a model's name: letters, digits, points and hyphens can, such as 'moonshine-base'"
        )
    if (models_folder() / name).exists():
        raise BadInputError(
            f"{name}: already installed in {models_folder() / name}; delete that folder to pull it again"
        )
    return name


def install(model: PublishedModel, language: str) -> Bundle:
    """Downloads a model if necessary, converts it to a bundle and installs it.

    Args:
        model: from `describe`.
        language: the language of its text, a code of ISO 639.

    Raises:
        BadInputError: it is not a Moonshine checkpoint, its architecture is none of the published ones, or a model of
            this name is installed.
        NetworkError: the hub cannot be reached.
        StorageError: the data folder cannot be written.
    """
    checkpoint = fetch(model)
    config, tensors = read_checkpoint(checkpoint)
    graphs = _graphs(model.name, checkpoint, config)
    _check_vocabulary(checkpoint, config)
    _check_tensors(checkpoint, graphs, tensors)
    target = models_folder() / model.name
    with folder_in_one_step(target) as folder:
        write_weights(folder / WEIGHTS, {**tensors})
        shutil.copyfile(checkpoint / "tokenizer.json", folder / TOKENIZER)
        (folder / LICENCE).write_text(_licence_text(checkpoint, model.card), "utf-8")
        (folder / GRAPHS).mkdir()
        for name, graph in graphs.items():
            (folder / GRAPHS / f"{name}.onnx").write_bytes(graph.SerializeToString())
        write_record(
            Bundle(
                folder=folder,
                name=model.name,
                family="moonshine",
                sampling_rate=embedded_bundle().sampling_rate,
                config=config,
                licence=model.card.spdx,
                origin=f"{model.source}, fp32 checkpoint",
                language=language,
            )
        )
    return Bundle.open(target)


def _licence_text(checkpoint: Path, card: ModelCard) -> str:
    has_file = any(checkpoint.glob("LICENSE*"))
    return LICENCE_TEXT if card.licence == "mit" and not has_file else licence_text(checkpoint, card)


def _graphs(name: str, checkpoint: Path, config: Mapping[str, Any]) -> dict[str, onnx.ModelProto]:
    """The graphs of the checkpoint's architecture, for its vocabulary, by name.

    Args:
        name: of the model to install.
        checkpoint: its folder.
        config: its configuration.

    Raises:
        BadInputError: there are none, or the name is that of a published model of another size.
    """
    shipped = [embedded_bundle(), *map(Bundle.open, GRAPH_BUNDLES)]
    for bundle in shipped:
        if all(bundle.config[key] == config[key] for key in ARCHITECTURE):
            if any(name.startswith(other.name) for other in shipped if other is not bundle):
                raise BadInputError(
                    f"{checkpoint}: has the size of {bundle.name}, so it cannot be {name}; nothing was installed. Give "
                    "it another name"
                )
            bundle.check(*(path.relative_to(bundle.folder).as_posix() for path in bundle.graphs().values()))
            return {
                name: _for_vocabulary(onnx.load(path, load_external_data=False), config["vocab_size"])
                for name, path in bundle.graphs().items()
            }
    differing = {key for bundle in shipped for key in ARCHITECTURE if config[key] != bundle.config[key]}
    raise BadInputError(
        f"{checkpoint}: another architecture than the published ones ({', '.join(sorted(differing))}); export its "
        f"graphs with torch: {how_to_install('train')}, then asr-edge convert {checkpoint} --out FOLDER"
    )


def _for_vocabulary(graph: onnx.ModelProto, size: int) -> onnx.ModelProto:
    """Sets the vocabulary's size in a graph: a dimension of the embedding, and the last one of the logits."""
    for tensor in graph.graph.initializer:
        if tensor.name == EMBEDDING:
            tensor.dims[0] = size
    for output in graph.graph.output:
        if output.name == "logits":
            output.type.tensor_type.shape.dim[-1].dim_value = size
    return graph


def _check_vocabulary(checkpoint: Path, config: Mapping[str, Any]) -> None:
    """Checks that the model has an embedding for every token of its tokenizer, and for the special ones."""
    beyond = [key for key in CONFIG_KEYS if key.endswith("_token_id") and config[key] >= config["vocab_size"]]
    if beyond:
        raise BadInputError(
            f"{checkpoint / 'config.json'}: {beyond[0]} is {config[beyond[0]]}, but the model has "
            f"{counted(config['vocab_size'], 'token')}; download it again"
        )
    path = checkpoint / "tokenizer.json"
    try:
        tokens = Tokenizer.from_file(str(path)).get_vocab_size()
    except Exception as error:  # tokenizers raises bare Exception
        raise BadInputError(f"{path}: cannot be read ({error})") from error
    if tokens > config["vocab_size"]:
        raise BadInputError(f"{path}: has {tokens} tokens, but the model has {config['vocab_size']}")


def _check_tensors(checkpoint: Path, graphs: Mapping[str, onnx.ModelProto], tensors: Tensors) -> None:
    """Checks that the checkpoint has exactly the weights of the graphs, with their shapes."""
    wanted = {
        tensor.name: tuple(tensor.dims)
        for graph in graphs.values()
        for tensor in graph.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    path = checkpoint / "model.safetensors"
    for name, shape in wanted.items():
        if name not in tensors or tensors[name].shape != shape:
            raise BadInputError(f"{path}: {name} is missing or not of shape {shape}")
    if unknown := tensors.keys() - wanted.keys():
        raise BadInputError(f"{path}: {min(unknown)} is not part of a Moonshine model of this architecture")
