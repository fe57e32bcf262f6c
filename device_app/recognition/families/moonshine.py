"""Moonshine on ONNX Runtime, of any size."""

from __future__ import annotations

from pathlib import Path

from device_app.recognition.encoder_decoder.decoder import Layout
from device_app.recognition.encoder_decoder.recogniser import EncoderDecoderRecogniser, load_encoder_decoder
from device_app.recognition.options import DEFAULT, DecodingOptions
from editing.errors import BundleError, one_line
from export.bundle import Bundle

HOP = 64 * 3 * 2  # samples of audio in one encoder frame: the strides of the three convolutions

# A limit against loops. That of the model's authors is 6.5, which cuts off fast speech, so this is twice as many.
TOKENS_PER_S = 13.0


def load(bundle: Bundle, baked: Path, threads: int, options: DecodingOptions = DEFAULT) -> EncoderDecoderRecogniser:
    """Loads the encoder and decoder that `export.bake` wrote into `baked`.

    Raises:
        BadInputError: the options have a language model, which is for CTC models only.
        BundleError: a file is missing or damaged.
    """
    config = bundle.config
    try:
        heads = config["decoder_num_attention_heads"]
        layout = Layout(
            layers=config["decoder_num_hidden_layers"],
            heads=heads,
            head_dim=config["hidden_size"] // heads,
            start=[config["bos_token_id"]],
            end=config["eos_token_id"],
            max_tokens=config["max_position_embeddings"],
            tokens_per_s=TOKENS_PER_S,
            hop=HOP,
        )
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise BundleError(
            f"{bundle.folder}: the configuration in model.json is damaged ({one_line(str(error))})"
        ) from error
    return load_encoder_decoder(bundle, baked, threads, options, layout)
