"""Converts a Whisper checkpoint of transformers into a bundle: any size, fine-tuned ones too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from transformers import WhisperForConditionalGeneration

from device_app.data.manifest import read_manifest
from device_app.paths import RECORDINGS
from editing.errors import BadInputError, first_line
from editing.json_text import read_json
from export.bundle import GRAPHS, TOKENIZER, Bundle
from export.graphs.whisper import export_whisper
from trainer import families
from trainer.bundle_writer import write_bundle
from trainer.convert import Checkpoint
from trainer.families import whisper
from trainer.pretrained import load_pretrained

MODEL_TYPES = frozenset({"whisper"})
MULTILINGUAL = 51865  # from this size on, the vocabulary is that of the models of several languages
VERIFIED = 2  # recordings on which the tokens are compared with those of transformers
KEPT = (  # of config.json
    *("vocab_size", "num_mel_bins", "d_model", "activation_function", "scale_embedding"),
    *("encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "max_source_positions"),
    *("decoder_layers", "decoder_attention_heads", "decoder_ffn_dim", "max_target_positions"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"),
)


def convert(checkpoint: Checkpoint, out: Path) -> Bundle:
    """Converts a checkpoint; compares its graphs with transformers first (see `trainer.convert.Converter`).

    Raises:
        BadInputError: files are missing or damaged, or the model does not know the language.
    """
    folder = checkpoint.folder
    original = load_pretrained(WhisperForConditionalGeneration, folder, checkpoint.source, "a Whisper model")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # tokenizers raises bare Exception
        raise BadInputError(
            f"{checkpoint.source}: tokenizer.json cannot be read ({first_line(error)}); download it again"
        ) from error
    settings = {key: getattr(original.config, key) for key in KEPT}
    generation = _generation(folder)
    config = {
        "transformers": settings,
        "start": _start(
            checkpoint, tokenizer, generation.get("is_multilingual", settings["vocab_size"] >= MULTILINGUAL)
        ),
        "suppressed": sorted(token for token in generation.get("suppress_tokens") or () if token >= 0),
        "suppressed_first": sorted(token for token in generation.get("begin_suppress_tokens") or () if token >= 0),
    }
    model = whisper.build(config)
    stored = original.state_dict()
    weights = {name: stored[name].numpy() for name in families.state(model)}
    families.load_weights(model, weights)
    speech = [one.read() for one in read_manifest(RECORDINGS / "manifest.jsonl")][:VERIFIED]

    def verify(bundle: Bundle) -> None:
        whisper.verify_graphs(model, bundle, weights, [audio[: model.front_end.samples] for audio in speech])

    record = checkpoint.record(out, "whisper", config)
    return write_bundle(
        record,
        tokenizer,
        model,
        lambda network, folder: export_whisper(network, folder / GRAPHS),
        checkpoint.licence_text,
        verify,
    )


def _generation(folder: Path) -> Mapping[str, Any]:
    """The settings in generation_config.json; empty if the file is missing."""
    path = folder / "generation_config.json"
    try:
        found = read_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: cannot be read ({error})") from error
    return found if isinstance(found, dict) else {}


def _start(checkpoint: Checkpoint, tokenizer: tokenizers.Tokenizer, is_multilingual: bool) -> list[int]:
    """The tokens before every text: in models of several languages they name the language and the task."""
    names = ["<|startoftranscript|>", "<|notimestamps|>"]
    if is_multilingual:
        names[1:1] = [f"<|{checkpoint.language}|>", "<|transcribe|>"]
    tokens = []
    for name in names:
        number = tokenizer.token_to_id(name)
        if number is None:
            raise BadInputError(
                f"{checkpoint.source}: its tokenizer has no token {name}; its language is {checkpoint.language!r}, "
                "and --language sets another one"
            )
        tokens.append(int(number))
    return tokens
