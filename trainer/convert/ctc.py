"""A CTC model of transformers becomes a bundle: what `asr-edge convert` does.

Parakeet is our conformer-ctc: same network, same features. Models that take audio as it is become
the family auto-ctc. Weights are read from safetensors only, and no code of the model's folder is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
import torch
from transformers import AutoConfig, AutoModelForCTC

from device_app.audio.samples import SAMPLE_RATE
from device_app.models.hub import download
from device_app.recognition.subwords import WORD_START
from editing.errors import BadInputError
from editing.json_text import read_json
from export.bundle import Bundle
from export.graphs import export_auto_ctc, export_conformer_ctc
from trainer import families
from trainer.bundle_writer import write_bundle
from trainer.families import auto_ctc, conformer_ctc
from trainer.vocabulary import of_pieces

PARAKEET = "parakeet_ctc"
FETCHED = ("*.json", "*.safetensors")
NOT_WEIGHTS = ("dtype", "torch_dtype", "transformers_version", "architectures", "_name_or_path")


def convert_ctc(source: str, out: Path, name: str | None = None) -> Bundle:
    """Makes the bundle `out` of a model of transformers.

    Args:
        source: its folder, or its name on the Hugging Face hub, from where it is then fetched.
        out: a new folder.
        name: of the bundle; by default the folder's.

    Raises:
        BadInputError: it is no CTC model, its weights are not safetensors, or its vocabulary is not
            one of characters or of pieces.
        NetworkError: the hub cannot be reached.
    """
    folder = Path(source) if Path(source).is_dir() else download(source, FETCHED, "Name a folder of it")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        model = AutoModelForCTC.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError) as error:
        said = str(error).strip().splitlines()[0]
        raise BadInputError(
            f"{source}: is not a CTC model of transformers with safetensors weights ({said})"
        ) from error
    is_parakeet = config.model_type == PARAKEET
    tokenizer, shape = (_parakeet if is_parakeet else _of_characters)(folder, config)
    family = conformer_ctc if is_parakeet else auto_ctc
    ours = family.build(shape)
    fitting = (
        model.state_dict() if is_parakeet else {f"model.{key}": value for key, value in model.state_dict().items()}
    )
    weights = {key: fitting[key].float().numpy() for key in families.state(ours) if key in fitting}
    families.load_weights(ours, weights)
    record = Bundle(
        folder=out,
        name=name or folder.name,
        family="conformer-ctc" if is_parakeet else "auto-ctc",
        sampling_rate=SAMPLE_RATE,
        config=shape,
        licence="LicenseRef-source",
        origin=f"converted from {source}",
    )
    export = export_conformer_ctc if is_parakeet else export_auto_ctc
    return write_bundle(record, tokenizer, ours, export, f"As published with {source}; see its model card.\n")


def _parakeet(folder: Path, config: Any) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    blank = int(config.vocab_size) - 1
    if config.pad_token_id != blank:
        raise BadInputError(f"{folder}: its blank is token {config.pad_token_id}, expected the last, {blank}")
    path = folder / "tokenizer.json"
    record = _json(path)
    try:  # the blank is no token of ours
        record["added_tokens"] = [token for token in record.get("added_tokens", []) if token["id"] < blank]
        vocabulary = record["model"]["vocab"]
        if isinstance(vocabulary, dict):
            record["model"]["vocab"] = {piece: number for piece, number in vocabulary.items() if number < blank}
        else:
            record["model"]["vocab"] = vocabulary[:blank]
        record["post_processor"] = None
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(record))
    except Exception as error:  # tokenizers raises bare Exception
        raise BadInputError(f"{path}: cannot be used ({error})") from error
    if tokenizer.get_vocab_size() != blank:
        raise BadInputError(f"{path}: has {tokenizer.get_vocab_size()} tokens, the model writes {blank} and the blank")
    encoder = {key: value for key, value in config.encoder_config.to_dict().items() if key not in NOT_WEIGHTS}
    return tokenizer, {"encoder": encoder, "vocab_size": int(config.vocab_size)}


def _of_characters(folder: Path, config: Any) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """wav2vec2's way: `vocab.json`, a character each, "|" between words, and the padding as the blank."""
    if getattr(config, "add_adapter", False):
        raise BadInputError(f"{folder}: a model with an adapter after its encoder, which is not known here")
    numbers: Mapping[str, int] = _json(folder / "vocab.json")
    delimiter = _json(folder / "tokenizer_config.json", {}).get("word_delimiter_token", "|")
    own = {piece: number for piece, number in numbers.items() if number != config.pad_token_id}
    characters = _characters(own, delimiter, folder / "vocab.json")
    if WORD_START not in characters:
        raise BadInputError(f"{folder / 'vocab.json'}: has no {delimiter!r} between words")
    tokenizer = of_pieces({piece: place for place, piece in enumerate(characters)})
    shape = {
        "transformers": {key: value for key, value in config.to_dict().items() if key not in NOT_WEIGHTS},
        "order": [*characters.values(), config.pad_token_id],
        "normalise": bool(_json(folder / "preprocessor_config.json", {}).get("do_normalize", True)),
    }
    return tokenizer, shape


def _characters(numbers: Mapping[str, int], delimiter: str, path: Path) -> dict[str, int]:
    """The model's number of each character in lower case and of the mark between words, in the numbers' order."""
    characters: dict[str, int] = {}
    for piece, number in sorted(numbers.items(), key=lambda item: item[1]):
        if piece == delimiter:
            characters[WORD_START] = number
        elif len(piece) == 1 and piece.lower() not in characters and len(piece.lower()) == 1:
            characters[piece.lower()] = number
        elif not (piece.startswith(("<", "[")) and piece.endswith((">", "]"))):
            raise BadInputError(f"{path}: {piece!r} is not one character; only such are known here")
    return characters


def _json(path: Path, default: Any = None) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError:
        if default is not None:
            return default
        raise BadInputError(f"{path}: is missing") from None
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: cannot be read ({error})") from error
