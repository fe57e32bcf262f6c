"""Converts a Moonshine Streaming checkpoint of transformers into a bundle."""

from __future__ import annotations

from pathlib import Path

import tokenizers
from transformers import MoonshineStreamingForConditionalGeneration

from device_app.audio.samples import SAMPLE_RATE
from device_app.data.manifest import read_manifest
from device_app.paths import RECORDINGS
from editing.errors import BadInputError, first_line
from export.bundle import GRAPHS, TOKENIZER, Bundle
from export.graphs.moonshine_streaming import export_moonshine_streaming
from trainer import families
from trainer.bundle_writer import write_bundle
from trainer.convert import Checkpoint
from trainer.families import moonshine_streaming
from trainer.pretrained import load_pretrained

MODEL_TYPES = frozenset({"moonshine_streaming"})
VERIFIED = 2  # recordings on which the tokens are compared with those of transformers
LONGEST_S = 20  # of each
KEPT = (  # of config.json
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act"),
    *("num_key_value_heads", "head_dim", "max_position_embeddings", "rope_parameters"),
    *("bos_token_id", "eos_token_id", "pad_token_id"),
)
KEPT_OF_ENCODER = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("hidden_act", "head_dim", "sliding_windows", "sample_rate", "frame_ms"),
)


def convert(checkpoint: Checkpoint, out: Path) -> Bundle:
    """Converts a checkpoint; compares its graphs with transformers first (see `trainer.convert.Converter`).

    Raises:
        BadInputError: files are missing or damaged, or the network has parts that the published ones have not.
    """
    original = load_pretrained(
        MoonshineStreamingForConditionalGeneration, checkpoint.folder, checkpoint.source, "a Moonshine Streaming model"
    )
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(checkpoint.folder / TOKENIZER))
    except Exception as error:  # tokenizers raises bare Exception
        raise BadInputError(
            f"{checkpoint.source}: tokenizer.json cannot be read ({first_line(error)}); download it again"
        ) from error
    settings = original.config
    encoder = settings.encoder_config
    if (
        settings.attention_bias
        or settings.num_key_value_heads != settings.num_attention_heads
        or encoder.frame_ms != 5.0
    ):
        raise BadInputError(
            f"{checkpoint.source}: has attention biases, grouped heads or other frames than 5 ms, which no published "
            "model has"
        )
    config = {key: getattr(settings, key) for key in KEPT}
    config["encoder_config"] = {key: getattr(encoder, key) for key in KEPT_OF_ENCODER}
    model = moonshine_streaming.build(config)
    stored = original.state_dict()
    weights = {name: stored[name].numpy() for name in families.state(model)}
    families.load_weights(model, weights)
    speech = [one.read() for one in read_manifest(RECORDINGS / "manifest.jsonl")][:VERIFIED]

    def verify(bundle: Bundle) -> None:
        moonshine_streaming.verify_graphs(
            model, bundle, weights, [audio[: LONGEST_S * SAMPLE_RATE] for audio in speech]
        )

    return write_bundle(
        checkpoint.record(out, "moonshine-streaming", config),
        tokenizer,
        model,
        lambda network, folder: export_moonshine_streaming(network, folder / GRAPHS),
        checkpoint.licence_text,
        verify,
    )
