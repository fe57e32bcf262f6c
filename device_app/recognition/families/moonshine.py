"""Moonshine on ONNX Runtime, of any size."""

from __future__ import annotations

from pathlib import Path

from device_app.recognition.encoder_decoder.decoder import Layout, reads_configuration
from device_app.recognition.encoder_decoder.recogniser import EncoderDecoderRecogniser, load_encoder_decoder
from device_app.recognition.options import DEFAULT, DecodingOptions
from export.bundle import Bundle

HOP = 64 * 3 * 2  # samples of audio in one encoder frame: the strides of the three convolutions

# A limit against loops. That of the model's authors is 6.5, which cuts off fast speech, so this is twice as many.
TOKENS_PER_S = 13.0

# Tokens that are never said. Of two digits of 1.04 s, Moonshine Tiny made a copyright sign, "transcript" and a name, as
# it has learned from credits of subtitles.
UNSPOKEN = ("\N{COPYRIGHT SIGN}",)


def load(bundle: Bundle, baked: Path, threads: int, options: DecodingOptions = DEFAULT) -> EncoderDecoderRecogniser:
    """Loads the encoder and decoder that `export.bake` wrote into `baked`.

    Raises:
        BadInputError: the options have a language model, which is for CTC models only.
        BundleError: a file is missing or damaged, or the configuration is not that of such a model.
    """
    with reads_configuration(bundle) as config:
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
    return load_encoder_decoder(bundle, baked, threads, options, layout, unspoken=UNSPOKEN)
