"""Moonshine on ONNX Runtime: greedy decoding, word times from cross-attention, loop guards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.recognition.attention import word_times
from device_app.recognition.onnx_session import session
from device_app.recognition.options import DEFAULT, DecodingOptions
from device_app.recognition.results import Recognition, Word, geometric_mean
from device_app.recognition.subwords import word_spans
from editing.errors import BadInputError, BundleError
from export.bundle import TOKENIZER, Bundle

HOP = 64 * 3 * 2  # samples of audio in one encoder frame: the strides of the three convolutions

# The authors' own guard against loops; the floor lets a short clip hold a short word.
TOKENS_PER_S = 6.5
FEWEST_TOKENS = 8

# A phrase of up to this many tokens that comes this often in a row is a loop, not speech. Short
# phrases must come oftener: people do say "zero zero zero zero" and "no, no, no, no".
LONGEST_PHRASE = 16
REPEATS = 4
REPEATED_TOKENS = 12


def load(bundle: Bundle, baked: Path, threads: int, options: DecodingOptions = DEFAULT) -> MoonshineRecogniser:
    """Loads the encoder and decoder that `export.bake` wrote into `baked`.

    Raises:
        BadInputError: a language model was given; the decoder is one.
        BundleError: a file is missing or damaged.
    """
    if options.language_model is not None:
        raise BadInputError(f"{bundle.name} has a language model of its own; --lm is for CTC models")
    import tokenizers

    bundle.check(TOKENIZER)
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(bundle.path(TOKENIZER)))
        config = Config.of(bundle.config)
    except Exception as error:  # tokenizers raises bare Exception
        raise BundleError(f"{bundle.folder}: tokenizer or configuration is damaged ({error})") from error
    encoder, decoder = (session(baked / f"{name}.onnx", threads) for name in ("encoder", "decoder"))
    cache = [value.shape for value in decoder.get_inputs() if value.name.startswith("past_key.")]
    if len(cache) != config.layers or any(s[1::2] != [config.heads, config.head_dim] for s in cache):
        raise BundleError(f"{bundle.folder}: the configuration in model.json is not that of the graphs")
    return MoonshineRecogniser(encoder, decoder, tokenizer, config)


@dataclass(frozen=True)
class Config:
    """What decoding needs of a bundle's configuration."""

    layers: int
    heads: int
    head_dim: int
    bos: int
    eos: int
    longest: int  # tokens that the decoder has positions for

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Config:
        heads = config["decoder_num_attention_heads"]
        return cls(
            layers=config["decoder_num_hidden_layers"],
            heads=heads,
            head_dim=config["hidden_size"] // heads,
            bos=config["bos_token_id"],
            eos=config["eos_token_id"],
            longest=config["max_position_embeddings"],
        )


@dataclass
class Hypothesis:
    """Tokens as they are decoded, without the end token.

    Attributes:
        tokens: ids.
        log_probabilities: of each token.
        attention: (frames,) rows, one per decoder step: the weight that the token gave each frame.
            One row longer than `tokens` where the end token came.
    """

    tokens: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    attention: list[NDArray[np.float32]] = field(default_factory=list)

    def cut(self, length: int) -> None:
        del self.tokens[length:], self.log_probabilities[length:], self.attention[length:]


class MoonshineRecogniser:
    """A `device_app.recognition.families.Recogniser`."""

    def __init__(self, encoder: Any, decoder: Any, tokenizer: Any, config: Config) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._config = config
        kinds = ("key", "value")
        self._cross = [f"cross_{kind}.{i}" for kind in kinds for i in range(config.layers)]
        self._past = [f"past_{kind}.{i}" for kind in kinds for i in range(config.layers)]

    def recognise(self, audio: Samples) -> Recognition:
        """Recognises one segment of speech, (samples,) at 16 kHz, best under 30 s."""
        hypothesis = self.decode(audio)
        return Recognition(self._text(hypothesis.tokens), self._words(hypothesis, audio))

    def decode(self, audio: Samples) -> Hypothesis:
        """Greedy decoding, stopped by the end token, the token cap, or a repetition loop."""
        config = self._config
        cross = self._encoder.run(self._cross, {"audio": audio[None]})
        feed: dict[str, NDArray[Any]] = dict(zip(self._cross, cross, strict=True))
        empty = np.zeros((1, config.heads, 0, config.head_dim), np.float32)
        feed |= dict.fromkeys(self._past, empty)
        feed["token"] = np.array([[config.bos]], np.int64)
        hypothesis = Hypothesis()
        cap = min(config.longest, max(FEWEST_TOKENS, math.ceil(len(audio) / SAMPLE_RATE * TOKENS_PER_S)))
        for position in range(cap):
            feed["position"] = np.array([position], np.int64)
            logits, attention, *cache = self._decoder.run(None, feed)
            token = int(logits[0, 0].argmax())
            hypothesis.attention.append(attention[0])
            if token == config.eos:
                break
            hypothesis.tokens.append(token)
            hypothesis.log_probabilities.append(log_probability(logits[0, 0], token))
            if repeated := repetition(hypothesis.tokens):
                hypothesis.cut(len(hypothesis.tokens) - repeated)
                break
            feed["token"][0, 0] = token
            feed |= zip(self._past, cache, strict=True)
        return hypothesis

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(tokens)).strip()

    def _words(self, hypothesis: Hypothesis, audio: Samples) -> list[Word]:
        """Groups tokens into words and finds each one's time."""
        if not hypothesis.tokens:
            return []
        names = [self._tokenizer.id_to_token(token) for token in hypothesis.tokens]
        texts = {span: self._text(hypothesis.tokens[slice(*span)]) for span in word_spans(names)}
        spans = [span for span, text in texts.items() if text]
        times = word_times(names, spans, np.stack(hypothesis.attention), audio, HOP)
        return [
            Word(texts[span], *time, geometric_mean(hypothesis.log_probabilities[slice(*span)]))
            for span, time in zip(spans, times, strict=True)
        ]


def log_probability(logits: NDArray[np.float32], token: int) -> float:
    """The log-probability of one token under the softmax of `logits`, (vocabulary,)."""
    largest = logits.max()
    return float(logits[token] - largest - np.log(np.exp(logits - largest).sum()))


def repetition(tokens: Sequence[int]) -> int:
    """How many tokens at the end only repeat the phrase before them; 0 where that is no loop."""
    for length in range(1, min(LONGEST_PHRASE, len(tokens) // REPEATS) + 1):
        repeats = max(REPEATS, math.ceil(REPEATED_TOKENS / length))
        tail = tokens[-length * repeats :]
        if len(tail) == length * repeats and tail[:-length] == tail[length:]:
            return length * (repeats - 1)
    return 0
