"""Installs published Moonshine checkpoints as bundles, without torch.

A checkpoint with the architecture of the embedded model uses the graphs of the embedded bundle, because
graphs have no weights.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from device_app.models.bundles import embedded_bundle, models_folder
from device_app.models.hub import download
from editing.errors import BadInputError, one_line
from editing.files import folder_in_one_step
from editing.json_text import read_json
from export.bundle import GRAPHS, LICENCE, TOKENIZER, WEIGHTS, Bundle, write_record
from export.weights import Tensors, read_weights, write_weights

# Models that can be pulled: name -> repository on the hub.
HUB = {"moonshine-tiny": "UsefulSensors/moonshine-tiny"}
FILES = ("config.json", "model.safetensors", "tokenizer.json")

CONFIG_KEYS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "encoder_num_hidden_layers",
    "decoder_num_hidden_layers",
    "encoder_num_attention_heads",
    "decoder_num_attention_heads",
    "max_position_embeddings",
    "bos_token_id",
    "eos_token_id",
    "decoder_start_token_id",
)

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


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], Tensors]:
    """Reads the configuration and the tensors of an fp32 Moonshine checkpoint from the hub.

    Raises:
        BadInputError: files are missing, damaged, or of another model.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise BadInputError(f"{folder}: not a Moonshine checkpoint ({', '.join(missing)} missing)")
    try:
        published = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise BadInputError(f"{folder / 'config.json'}: cannot be read ({one_line(str(error))})") from error
    if not isinstance(published, dict) or published.get("model_type") != "moonshine":
        raise BadInputError(f"{folder / 'config.json'}: not the configuration of a Moonshine model")
    absent = [key for key in CONFIG_KEYS if key not in published]
    if absent:
        raise BadInputError(f"{folder / 'config.json'}: lacks {', '.join(absent)}")
    config = {key: published[key] for key in CONFIG_KEYS}
    # Before version 5, transformers wrote the rotary settings as separate keys.
    rope = published.get("rope_parameters") or published
    if not isinstance(rope, dict):
        raise BadInputError(f"{folder / 'config.json'}: rope_parameters is not an object")
    config["rope_parameters"] = {
        "rope_type": "default",
        "rope_theta": rope.get("rope_theta", 10000.0),
        "partial_rotary_factor": rope.get("partial_rotary_factor", 0.9),
    }
    config["pad_token_id"] = config["eos_token_id"]  # the checkpoint has none, but training needs one
    tensors = read_weights(folder / "model.safetensors")
    tensors.pop("proj_out.weight", None)  # tied to the embedding
    return config, tensors


def fetch(name: str) -> Path:
    """Downloads a model of `HUB` into the hub's cache, unless it is there; returns its folder.

    Raises:
        BadInputError: `name` is not in `HUB`.
        NetworkError: the hub cannot be reached and the model is not in the cache.
    """
    if name not in HUB:
        raise BadInputError(f"{name}: not a model that can be pulled ({', '.join(HUB)})")
    return download(
        HUB[name],
        FILES,
        f"The embedded model works offline; or download {', '.join(FILES)} elsewhere and pass their folder to --from",
    )


def install(name: str, checkpoint: Path) -> Bundle:
    """Converts a checkpoint to a bundle and installs it.

    Raises:
        BadInputError: it is not a Moonshine checkpoint, its architecture is not that of the embedded
            model, or a model of this name is installed.
        StorageError: the data folder cannot be written.
    """
    config, tensors = read_checkpoint(checkpoint)
    embedded = embedded_bundle()
    embedded.check()
    if config != embedded.config:
        differing = ", ".join(key for key in config if config[key] != embedded.config.get(key))
        raise BadInputError(
            f"{checkpoint}: another architecture than the embedded model ({differing}); "
            "export its graphs: pip install 'asr-edge[train]', then python -m trainer.convert.moonshine"
        )
    _check_tensors(checkpoint, embedded, tensors)
    target = models_folder() / name
    with folder_in_one_step(target) as folder:
        write_weights(folder / WEIGHTS, {**tensors})
        shutil.copyfile(checkpoint / "tokenizer.json", folder / TOKENIZER)
        (folder / LICENCE).write_text(LICENCE_TEXT, "utf-8")
        (folder / GRAPHS).mkdir()
        for path in embedded.graphs().values():
            shutil.copyfile(path, folder / GRAPHS / path.name)
        write_record(
            Bundle(
                folder=folder,
                name=name,
                family=embedded.family,
                sampling_rate=embedded.sampling_rate,
                config=config,
                licence="MIT",
                origin=HUB.get(name, str(checkpoint)) + ", fp32 checkpoint",
            )
        )
    return Bundle.open(target)


def _check_tensors(checkpoint: Path, embedded: Bundle, tensors: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Checks that every weight that the graphs need exists and has the right shape."""
    for path in embedded.graphs().values():
        for wanted in onnx.load(path, load_external_data=False).graph.initializer:
            if wanted.data_location != onnx.TensorProto.EXTERNAL:
                continue
            if wanted.name not in tensors or tensors[wanted.name].shape != tuple(wanted.dims):
                raise BadInputError(
                    f"{checkpoint / 'model.safetensors'}: {wanted.name} is missing or not of shape {tuple(wanted.dims)}"
                )
