"""Recognition with an encoder and an autoregressive decoder: beam search, and word times from cross-attention."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_app.audio.margins import MARGIN_S, OTHER_MARGINS_S, with_margins
from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.data.terms import Term
from device_app.recognition.attention import word_times
from device_app.recognition.decoder_search import Decoder, Hypothesis, SearchSettings, search
from device_app.recognition.encoder_decoder.decoder import CachedDecoder, Layout, SuppressingDecoder
from device_app.recognition.keyterms.bias import TermBias
from device_app.recognition.keyterms.cache import term_graph
from device_app.recognition.keyterms.graph import TermGraph
from device_app.recognition.loop_guard import recognise_in_parts
from device_app.recognition.onnx_session import session
from device_app.recognition.options import DEFAULT, DecodingOptions
from device_app.recognition.results import Recognition, Word, geometric_mean
from device_app.recognition.subwords import word_spans
from editing.errors import BadInputError, BundleError
from export.bundle import TOKENIZER, Bundle

MIN_TOKEN_LIMIT = 8  # tokens that the shortest segment may have, so that one word of many tokens fits

# The decoder of Moonshine outputs no token for a third of single words and for some sentences, although voice activity
# was detected. So it must output at least one, and a hypothesis with a lower mean log-probability (nats) is dropped.
MIN_TOKENS = 1
MIN_LOG_PROBABILITY = -2.5

# Shorter segments are decoded with margins of noise of several lengths (see `audio.margins`), and the likeliest
# hypothesis is kept. Of 1,023 single digits cut from training recordings, Moonshine Tiny recognises 657 with a margin
# of 0.5 s, 676 with 0.3 s too, and 688 with all four.
SHORT_S = 1.0

# From audio (samples,) to the cross-attention keys and values, in the order of `Layout.cross_names`.
Encode = Callable[[Samples], list[NDArray[np.float32]]]

BEAM = 4  # docs/measure.md compares it with greedy decoding
GREEDY = SearchSettings(beam=1)


def load_encoder_decoder(
    bundle: Bundle,
    baked: Path,
    threads: int,
    options: DecodingOptions,
    layout: Layout,
    names: Sequence[str | None] | None = None,
    make_encode: Callable[[Any], Encode] | None = None,
    unspoken: Sequence[str] = (),
) -> EncoderDecoderRecogniser:
    """Loads the encoder and decoder that `export.bake` wrote into `baked`.

    Args:
        bundle, baked, threads, options: see `device_app.recognition.families.Family.load`.
        layout: sizes and special tokens of the model.
        names: the text of each token of the vocabulary, with SentencePiece's mark for a space; None for those of the
            tokenizer.
        make_encode: makes the function that encodes audio from the encoder's ONNX Runtime session; None runs it on
            the whole audio at once.
        unspoken: names of tokens that no hypothesis may have, because nobody says them; others than those of the
            tokenizer are ignored.

    Raises:
        BadInputError: the options have a language model, which is for CTC models only.
        BundleError: a file is missing or damaged, or the graphs are not of this layout.
    """
    if options.language_model is not None:
        raise BadInputError(f"{bundle.name} takes no n-gram language model; CTC models do")
    tokenizer = bundle.tokenizer()
    encoder, decoder = (session(baked / f"{name}.onnx", threads) for name in ("encoder", "decoder"))
    # Of each layer: (batch, heads, past, head_dim).
    shapes = [value.shape for value in decoder.get_inputs() if value.name.startswith("past_key.")]
    samples = encoder.get_inputs()[0].shape[1]  # a number if the graph takes audio of one length only
    is_that_of_graphs = (
        len(shapes) == layout.layers
        and all((s[1], s[3]) == (layout.heads, layout.head_dim) for s in shapes)
        and (samples == layout.samples or not isinstance(samples, int))
        and _has_tokens(decoder, layout)
    )
    if not is_that_of_graphs:
        raise BundleError(f"{bundle.folder}: the configuration in model.json is not that of the graphs")
    for token in filter(None, map(tokenizer.token_to_id, unspoken)):
        without = replace(layout, suppressed=[*layout.suppressed, token])
        layout = without if _has_tokens(decoder, without) else layout
    if names is None:
        names = [tokenizer.id_to_token(token) for token in range(tokenizer.get_vocab_size())]
    terms = term_graph(options.keyterms, bundle.files[TOKENIZER], lambda: names) if options.keyterms else None

    def encode_whole(audio: Samples) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = encoder.run(layout.cross_names, {"audio": audio[None]})
        return outputs

    encode = encode_whole if make_encode is None else make_encode(encoder)
    return EncoderDecoderRecogniser(encode, decoder, tokenizer, layout, names, options, terms)


def _has_tokens(decoder: Any, layout: Layout) -> bool:
    """Whether the decoder's graph has an output for each token of the layout."""
    vocabulary = next((value.shape[-1] for value in decoder.get_outputs() if value.name == "logits"), None)
    return not isinstance(vocabulary, int) or layout.largest_token < vocabulary


class EncoderDecoderRecogniser:
    """A `device_app.recognition.families.Recogniser`."""

    def __init__(
        self,
        encode: Encode,
        decoder: Any,
        tokenizer: Any,
        layout: Layout,
        names: Sequence[str | None],
        options: DecodingOptions = DEFAULT,
        terms: TermGraph | None = None,
    ) -> None:
        self._encode = encode
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._layout = layout
        self._names = names
        self._terms = terms
        self._settings = SearchSettings(options.beam or BEAM, min_tokens=MIN_TOKENS)

    def recognise(self, audio: Samples, *, is_draft: bool = False) -> Recognition:
        """See `Recogniser.recognise`. A draft is decoded greedily and without keyterms.

        Args:
            audio: (samples,) at 16 kHz; accuracy falls above 30 s.
            is_draft: whether to prefer speed to accuracy.
        """
        settings = replace(self._settings, beam=1) if is_draft else self._settings
        terms = None if is_draft else self._terms
        is_short = len(audio) < SHORT_S * SAMPLE_RATE and not is_draft
        found = []
        for margin_s in (MARGIN_S, *OTHER_MARGINS_S) if is_short else (MARGIN_S,):
            padded, margin = with_margins(audio, margin_s)  # `margin`: samples before the audio
            found.append((self.decode(padded, settings, terms), padded, margin))
        # Of a loop, only one phrase is scored, so the score of an incomplete hypothesis is too good.
        best, padded, margin = max(found, key=lambda one: (one[0].is_complete, one[0].score + one[0].bonus))
        recognition = recognise_in_parts(
            padded,
            lambda part: best if part is padded else self.decode(part, settings, terms),  # the whole is decoded already
            self._recognition,
            MIN_LOG_PROBABILITY,
        )
        return recognition.within(-margin / SAMPLE_RATE, len(audio) / SAMPLE_RATE)

    def with_keyterms(self, keyterms: Sequence[Term | str]) -> EncoderDecoderRecogniser:
        """See `Recogniser.with_keyterms`. The index of these terms is not stored on the disk."""
        other = copy.copy(self)
        other._terms = term_graph(keyterms, None, lambda: self._names) if keyterms else None
        return other

    def decode(self, audio: Samples, settings: SearchSettings = GREEDY, terms: TermGraph | None = None) -> Hypothesis:
        """Finds the best hypothesis.

        Args:
            audio: (samples,) at 16 kHz.
            settings: the settings of the beam search.
            terms: keyterms to prefer; None for none.

        Returns:
            The hypothesis; an incomplete one without tokens if the audio is longer than the encoder takes.
        """
        layout = self._layout
        if layout.samples is not None and len(audio) > layout.samples:
            return Hypothesis()  # not complete, so `recognise_in_parts` splits the audio
        token_limit = max(MIN_TOKEN_LIMIT, math.ceil(len(audio) / SAMPLE_RATE * layout.tokens_per_s))
        decoder: Decoder = self._cached_decoder(audio)
        if layout.suppressed or layout.suppressed_first:
            decoder = SuppressingDecoder(decoder, layout)
        return search(
            decoder,
            start=layout.start[-1],
            end=layout.end,
            max_tokens=min(layout.max_tokens - len(layout.start) + 1, token_limit),
            settings=settings,
            bias=None if terms is None else TermBias(terms),
        )

    def log_probabilities(self, audio: Samples, text: str) -> NDArray[np.float32]:
        """Log-probabilities (tokens + 1, vocabulary) in nats, of each token of a text and of the end token.

        Args:
            audio: (samples,) at 16 kHz, one segment of speech.
            text: the tokens before each token are those of this text (teacher forcing).
        """
        decoder = self._cached_decoder(with_margins(audio)[0])
        tokens = (self._layout.start[-1], *self._tokens(text))
        steps = (decoder.step(np.array([token]), np.array([0])) for token in tokens)
        return np.concatenate([log_probabilities for log_probabilities, _ in steps])

    def text_loss(self, log_probabilities: NDArray[np.float32], text: str) -> float | None:
        """The negative log-likelihood of a text in nats (see `Recogniser.text_loss`)."""
        targets = [*self._tokens(text), self._layout.end]
        return float(-log_probabilities[np.arange(len(targets)), targets].sum(dtype=np.float64))

    def _tokens(self, text: str) -> list[int]:
        """The tokens of a text, without the end token; as many as the decoder has positions for."""
        layout = self._layout
        tokens: list[int] = self._tokenizer.encode(layout.text_prefix + text, add_special_tokens=False).ids
        return tokens[: layout.max_tokens - len(layout.start)]

    def _cached_decoder(self, audio: Samples) -> CachedDecoder:
        """Runs the encoder; returns the decoder for its output, before the first token of the text."""
        layout = self._layout
        frames = math.ceil(len(audio) / layout.hop)
        if layout.samples is not None:
            audio = np.pad(audio[: layout.samples], (0, max(0, layout.samples - len(audio))))
        cross = dict(zip(layout.cross_names, self._encode(audio), strict=True))
        return CachedDecoder(self._decoder, layout, cross, frames)

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
        names = [self._names[token] or "" for token in hypothesis.tokens]
        texts = {span: self._text(hypothesis.tokens[slice(*span)]) for span in word_spans(names)}
        spans = [span for span, text in texts.items() if text]
        times = word_times(names, spans, np.stack(hypothesis.attention), audio, self._layout.hop)
        return [
            Word(texts[span], *time, geometric_mean(hypothesis.log_probabilities[slice(*span)]))
            for span, time in zip(spans, times, strict=True)
        ]
