"""Converts a CTC model of transformers into a bundle.

Parakeet becomes a bundle of the family conformer-ctc, which has the same network and features. Models
whose input is the raw waveform become auto-ctc.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from transformers import AutoConfig, AutoModelForCTC
from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING_NAMES

from device_app.recognition.subwords import WORD_START
from editing.errors import BadInputError, first_line, one_line
from editing.json_text import read_json
from export.bundle import Bundle
from export.graphs.ctc import export_auto_ctc, export_conformer_ctc
from trainer import families
from trainer.bundle_writer import write_bundle
from trainer.convert import Checkpoint
from trainer.families import auto_ctc, conformer_ctc
from trainer.pretrained import load_pretrained
from trainer.vocabulary import subword_tokenizer

PARAKEET = "parakeet_ctc"
MODEL_TYPES = frozenset(MODEL_FOR_CTC_MAPPING_NAMES)
NOT_ARCHITECTURE = ("dtype", "torch_dtype", "transformers_version", "architectures", "_name_or_path")


def convert(checkpoint: Checkpoint, out: Path) -> Bundle:
    """Converts a CTC model of transformers (see `trainer.convert.Converter`).

    Raises:
        BadInputError: it has no safetensors weights, or a vocabulary of neither characters nor subword units.
    """
    folder = checkpoint.folder
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise BadInputError(
            f"{checkpoint.source}: is not a CTC model of transformers with safetensors weights ({first_line(error)})"
        ) from error
    model = load_pretrained(AutoModelForCTC, folder, checkpoint.source, "a CTC model of transformers")
    is_parakeet = config.model_type == PARAKEET
    tokenizer, architecture = (_parakeet if is_parakeet else _from_wav2vec2)(folder, config)
    family = conformer_ctc if is_parakeet else auto_ctc
    network = family.build(architecture)
    prefix = "" if is_parakeet else "model."  # `auto_ctc.AutoCtc` wraps the model of transformers
    stored = {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}
    weights = {name: stored[name].float().numpy() for name in families.state(network) if name in stored}
    families.load_weights(network, weights)
    record = checkpoint.record(out, "conformer-ctc" if is_parakeet else "auto-ctc", architecture)
    export = export_conformer_ctc if is_parakeet else export_auto_ctc
    return write_bundle(record, tokenizer, network, export, checkpoint.licence_text)


def _parakeet(folder: Path, config: Any) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """The tokenizer without the blank, and the configuration of the family conformer-ctc."""
    blank = int(config.vocab_size) - 1
    if config.pad_token_id != blank:
        raise BadInputError(f"{folder}: its blank is token {config.pad_token_id}; expected the last token, {blank}")
    path = folder / "tokenizer.json"
    record = _json(path)
    try:  # our tokenizers have no blank
        record["added_tokens"] = [token for token in record.get("added_tokens", []) if token["id"] < blank]
        vocabulary = record["model"]["vocab"]
        if isinstance(vocabulary, dict):
            record["model"]["vocab"] = {piece: number for piece, number in vocabulary.items() if number < blank}
        else:
            record["model"]["vocab"] = vocabulary[:blank]
        record["post_processor"] = None
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(record))
    except Exception as error:  # tokenizers raises bare Exception
        raise BadInputError(f"{path}: cannot be used ({one_line(str(error))})") from error
    if tokenizer.get_vocab_size() != blank:
        raise BadInputError(f"{path}: has {tokenizer.get_vocab_size()} tokens, but the model has {blank} and the blank")
    encoder = {key: value for key, value in config.encoder_config.to_dict().items() if key not in NOT_ARCHITECTURE}
    return tokenizer, {"encoder": encoder, "vocab_size": int(config.vocab_size)}


def _from_wav2vec2(folder: Path, config: Any) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """The tokenizer, and the configuration of the family auto-ctc.

    In wav2vec2's format: a vocabulary of characters, "|" between words, the padding token as the blank.
    """
    if getattr(config, "add_adapter", False):
        raise BadInputError(f"{folder}: models with an adapter after the encoder are not supported")
    numbers: Mapping[str, int] = _json(folder / "vocab.json")
    delimiter = _json(folder / "tokenizer_config.json", {}).get("word_delimiter_token", "|")
    without_blank = {piece: number for piece, number in numbers.items() if number != config.pad_token_id}
    characters = _characters(without_blank, delimiter, folder / "vocab.json")
    if WORD_START not in characters:
        raise BadInputError(f"{folder / 'vocab.json'}: has no {delimiter!r} between words")
    tokenizer = subword_tokenizer({piece: index for index, piece in enumerate(characters)})
    architecture = {
        "transformers": {key: value for key, value in config.to_dict().items() if key not in NOT_ARCHITECTURE},
        "order": [*characters.values(), config.pad_token_id],
        "normalise": bool(_json(folder / "preprocessor_config.json", {}).get("do_normalize", True)),
    }
    return tokenizer, architecture


def _characters(numbers: Mapping[str, int], delimiter: str, path: Path) -> dict[str, int]:
    """Maps each lower-case character and the word-start mark to its token number, in the order of the numbers.

    Special tokens such as <unk> are left out.
    """
    characters: dict[str, int] = {}
    for piece, number in sorted(numbers.items(), key=lambda item: item[1]):
        if piece == delimiter:
            characters[WORD_START] = number
        elif len(piece) == 1 and piece.lower() not in characters and len(piece.lower()) == 1:
            characters[piece.lower()] = number
        elif not (piece.startswith(("<", "[")) and piece.endswith((">", "]"))):
            raise BadInputError(
                f"{path}: {piece!r} is not a single character; only character vocabularies are supported"
            )
    return characters


def _json(path: Path, default: Any = None) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError:
        if default is not None:
            return default
        raise BadInputError(f"{path}: is missing") from None
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: cannot be read ({one_line(str(error))})") from error
