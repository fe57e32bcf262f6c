"""Whisper on ONNX Runtime. Every segment costs as much as 30 s of audio, because its encoder takes no less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from device_app.recognition.encoder_decoder.decoder import Layout, check_whole, reads_configuration
from device_app.recognition.encoder_decoder.recogniser import EncoderDecoderRecogniser, load_encoder_decoder
from device_app.recognition.options import DEFAULT, DecodingOptions
from device_app.recognition.subwords import WORD_START
from export.bundle import Bundle

HOP = 160  # samples in one frame of the features
FRAME = 2 * HOP  # samples in one frame of the encoder's output
MAX_VOCABULARY = 1 << 20  # tokens
TEXT_PREFIX = " "  # the model begins its text with a space

# A limit against loops only. Scripts that the vocabulary hardly knows take a token for every byte.
TOKENS_PER_S = 40.0


def load(bundle: Bundle, baked: Path, threads: int, options: DecodingOptions = DEFAULT) -> EncoderDecoderRecogniser:
    """Loads the encoder and decoder that `export.bake` wrote into `baked`.

    Raises:
        BadInputError: the options have a language model, which is for CTC models only.
        BundleError: a file is missing or damaged, or the configuration is not that of such a model.
    """
    tokenizer = bundle.tokenizer()
    with reads_configuration(bundle) as whole:
        config = whole["transformers"]
        heads, end = config["decoder_attention_heads"], config["eos_token_id"]
        check_whole("vocab_size", config["vocab_size"], 1, MAX_VOCABULARY)
        check_whole("max_source_positions", config["max_source_positions"], 1)
        layout = Layout(
            layers=config["decoder_layers"],
            heads=heads,
            head_dim=config["d_model"] // heads,
            start=whole["start"],
            end=end,
            max_tokens=config["max_target_positions"],
            tokens_per_s=TOKENS_PER_S,
            hop=FRAME,
            samples=FRAME * config["max_source_positions"],
            # All tokens after the end token are special: languages, tasks, times.
            suppressed=[*whole["suppressed"], *range(end + 1, config["vocab_size"])],
            suppressed_first=whole["suppressed_first"],
            text_prefix=TEXT_PREFIX,
        )
    return load_encoder_decoder(bundle, baked, threads, options, layout, names(tokenizer))


def names(tokenizer: Any) -> list[str | None]:
    """The texts of the tokens, with SentencePiece's mark for a space; None for parts of a character."""
    texts = tokenizer.decode_batch([[token] for token in range(tokenizer.get_vocab_size())], skip_special_tokens=False)
    spelled = (WORD_START + text[1:] if text.startswith(" ") else text for text in texts)
    return [None if "\N{REPLACEMENT CHARACTER}" in text else text for text in spelled]
