"""Moonshine on ONNX Runtime: beam search, and word times from cross-attention."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_app.audio.margins import MARGIN_S, OTHER_MARGIN_S, with_margins
from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.data.terms import Term
from device_app.recognition.attention import word_times
from device_app.recognition.decoder_search import Hypothesis, SearchSettings, log_softmax, search
from device_app.recognition.keyterms.bias import TermBias
from device_app.recognition.keyterms.cache import term_graph
from device_app.recognition.keyterms.graph import TermGraph
from device_app.recognition.loop_guard import recognise_in_parts
from device_app.recognition.onnx_session import session
from device_app.recognition.options import DEFAULT, DecodingOptions
from device_app.recognition.results import Recognition, Word, geometric_mean
from device_app.recognition.subwords import word_spans
from editing.errors import BadInputError, BundleError, one_line
from export.bundle import TOKENIZER, Bundle

HOP = 64 * 3 * 2  # samples of audio in one encoder frame: the strides of the three convolutions

# The limit on the length of a hypothesis. The authors' limit against loops is 6.5 tokens per second, which cuts off
# fast speech. The minimum allows a short word in a short segment.
TOKENS_PER_S = 13.0
MIN_TOKEN_LIMIT = 8

# The decoder writes no token for a third of single words and for some sentences, although voice activity was detected.
# So it must write at least one, and its hypothesis is dropped if the mean log-probability is too low.
MIN_WRITTEN = 1
MIN_LOG_PROBABILITY = -2.5

# Shorter segments are decoded with two margins (see `audio.margins`), and the likelier hypothesis is kept: of 600
# single digits cut from training recordings, 384 are right; 367 and 376 with one of the margins alone.
SHORT_S = 1.0

KINDS = ("key", "value")  # the cached inputs of attention

BEAM = 4
GREEDY = SearchSettings(beam=1)


def load(bundle: Bundle, baked: Path, threads: int, options: DecodingOptions = DEFAULT) -> MoonshineRecogniser:
    """Loads the encoder and decoder that `export.bake` wrote into `baked`.

    Raises:
        BadInputError: the options have a language model, which is for CTC models only.
        BundleError: a file is missing or damaged.
    """
    if options.language_model is not None:
        raise BadInputError(f"{bundle.name} takes no n-gram language model; CTC models do")
    tokenizer = bundle.tokenizer()
    try:
        config = Config.of(bundle.config)
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise BundleError(
            f"{bundle.folder}: the configuration in model.json is damaged ({one_line(str(error))})"
        ) from error
    encoder, decoder = (session(baked / f"{name}.onnx", threads) for name in ("encoder", "decoder"))
    cache = [value.shape for value in decoder.get_inputs() if value.name.startswith("past_key.")]
    if len(cache) != config.layers or any(s[1::2] != [config.heads, config.head_dim] for s in cache):
        raise BundleError(f"{bundle.folder}: the configuration in model.json is not that of the graphs")
    terms = _term_graph(tokenizer, bundle.files[TOKENIZER], options.keyterms)
    return MoonshineRecogniser(encoder, decoder, tokenizer, config, options, terms)


@dataclass(frozen=True)
class Config:
    """The part of a bundle's configuration that decoding needs."""

    layers: int
    heads: int
    head_dim: int
    bos: int
    eos: int
    max_tokens: int  # number of positions of the decoder, in tokens

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Config:
        heads = config["decoder_num_attention_heads"]
        return cls(
            layers=config["decoder_num_hidden_layers"],
            heads=heads,
            head_dim=config["hidden_size"] // heads,
            bos=config["bos_token_id"],
            eos=config["eos_token_id"],
            max_tokens=config["max_position_embeddings"],
        )


class MoonshineRecogniser:
    """A `device_app.recognition.families.Recogniser`."""

    def __init__(
        self,
        encoder: Any,
        decoder: Any,
        tokenizer: Any,
        config: Config,
        options: DecodingOptions = DEFAULT,
        terms: TermGraph | None = None,
    ) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._config = config
        self._terms = terms
        self._settings = SearchSettings(options.beam or BEAM, min_tokens=MIN_WRITTEN)

    def recognise(self, audio: Samples, *, is_draft: bool = False) -> Recognition:
        """Recognises one segment of speech, (samples,) at 16 kHz, best under 30 s; a draft is greedy, without terms."""
        settings = replace(self._settings, beam=1) if is_draft else self._settings
        terms = None if is_draft else self._terms
        is_short = len(audio) < SHORT_S * SAMPLE_RATE and not is_draft
        found = []
        for margin_s in (MARGIN_S, OTHER_MARGIN_S) if is_short else (MARGIN_S,):
            padded, before = with_margins(audio, margin_s)
            found.append((self.decode(padded, settings, terms), padded, before))
        best, padded, before = max(found, key=lambda one: one[0].score + one[0].bonus)
        recognition = recognise_in_parts(
            padded,
            lambda part: best if part is padded else self.decode(part, settings, terms),
            self._recognition,
            MIN_LOG_PROBABILITY,
        )
        return recognition.within(-before / SAMPLE_RATE, len(audio) / SAMPLE_RATE)

    def with_keyterms(self, keyterms: Sequence[Term | str]) -> MoonshineRecogniser:
        """A recogniser of the same sessions with other keyterms, whose index is not kept on the disk."""
        other = copy.copy(self)
        other._terms = _term_graph(self._tokenizer, None, keyterms)
        return other

    def decode(self, audio: Samples, settings: SearchSettings = GREEDY, terms: TermGraph | None = None) -> Hypothesis:
        """Finds the best hypothesis for audio (samples,) at 16 kHz."""
        config = self._config
        cap = max(MIN_TOKEN_LIMIT, math.ceil(len(audio) / SAMPLE_RATE * TOKENS_PER_S))
        return search(
            self._cached_decoder(audio),
            start=config.bos,
            end=config.eos,
            max_tokens=min(config.max_tokens, cap),
            settings=settings,
            bias=None if terms is None else TermBias(terms),
        )

    def log_probabilities(self, audio: Samples, text: str) -> NDArray[np.float32]:
        """(tokens + 1, vocabulary): each token of a text, and the end token, predicted from the tokens before it."""
        decoder = self._cached_decoder(with_margins(audio)[0])
        steps = (decoder.step(np.array([token]), np.array([0])) for token in (self._config.bos, *self._tokens(text)))
        return np.concatenate([log_probabilities for log_probabilities, _ in steps])

    def text_loss(self, log_probabilities: NDArray[np.float32], text: str) -> float | None:
        """See `Recogniser.text_loss`."""
        targets = [*self._tokens(text), self._config.eos]
        return float(-log_probabilities[np.arange(len(targets)), targets].sum(dtype=np.float64))

    def _tokens(self, text: str) -> list[int]:
        """The tokens of a text, without the end token; as many as the decoder has positions for."""
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return tokens[: self._config.max_tokens - 1]

    def _cached_decoder(self, audio: Samples) -> CachedDecoder:
        """Runs the encoder; returns the decoder for its output, before the first token."""
        names = [f"cross_{kind}.{i}" for kind in KINDS for i in range(self._config.layers)]
        cross = dict(zip(names, self._encoder.run(names, {"audio": audio[None]}), strict=True))
        return CachedDecoder(self._decoder, self._config, cross)

    def _recognition(self, hypothesis: Hypothesis, audio: Samples) -> Recognition:
        text, words = self._text(hypothesis.tokens), self._words(hypothesis, audio)
        if self._terms is None or hypothesis.unbiased is None:
            return Recognition(text, words)
        return Recognition(text, words, self._terms.terms.matches(text, self._text(hypothesis.unbiased)))

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(tokens)).strip()

    def _words(self, hypothesis: Hypothesis, audio: Samples) -> list[Word]:
        """Groups tokens into words and finds their times."""
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


def _term_graph(tokenizer: Any, tokenizer_hash: str | None, keyterms: Sequence[Term | str]) -> TermGraph | None:
    def names() -> list[str | None]:
        return [tokenizer.id_to_token(token) for token in range(tokenizer.get_vocab_size())]

    return term_graph(keyterms, tokenizer_hash, names) if keyterms else None


class CachedDecoder:
    """A `decoder_search.Decoder`: the graph of one decoder step, and the cache, which grows with every step."""

    def __init__(self, graph: Any, config: Config, cross: Mapping[str, NDArray[np.float32]]) -> None:
        """
        Args:
            graph: the ONNX Runtime session.
            config: of the model.
            cross: the encoder's keys and values by name, with batch size 1; broadcast to all hypotheses.
        """
        self._graph = graph
        self._cross = cross
        self._past = [f"past_{kind}.{i}" for kind in KINDS for i in range(config.layers)]
        self._cache = [np.zeros((1, config.heads, 0, config.head_dim), np.float32)] * len(self._past)
        self._position = 0

    def step(
        self, tokens: NDArray[np.int64], parents: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if not np.array_equal(parents, np.arange(len(self._cache[0]))):
            self._cache = [values[parents] for values in self._cache]
        feed = {
            **self._cross,
            **dict(zip(self._past, self._cache, strict=True)),
            "token": tokens[:, None],
            "position": np.array([self._position]),
        }
        logits, attention, *self._cache = self._graph.run(None, feed)
        self._position += 1
        return log_softmax(logits[:, 0]), attention
