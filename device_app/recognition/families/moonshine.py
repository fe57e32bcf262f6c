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
from device_app.recognition.families import WORD_START, Recognition, Word
from device_app.recognition.ngram import NGram
from device_app.recognition.onnx_session import session
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

# Within a word's span, what is this much weaker than its loudest moment (26 dB) is silence.
QUIET = 0.05
ENERGY_FRAME = SAMPLE_RATE // 100  # samples


def load(bundle: Bundle, baked: Path, threads: int, language_model: NGram | None = None) -> MoonshineRecogniser:
    """Loads the encoder and decoder that `export.bake` wrote into `baked`.

    Raises:
        BadInputError: a language model was given; the decoder is one.
        BundleError: a file is missing or damaged.
    """
    if language_model is not None:
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
        attention: (frames,) rows, one per decoder step: over which frames that token was heard.
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
        """Hears one segment of speech, (samples,) at 16 kHz, best under 30 s."""
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
        pieces = [self._tokenizer.id_to_token(token) for token in hypothesis.tokens]
        starts = [index for index, piece in enumerate(pieces) if index == 0 or piece.startswith(WORD_START)]
        bounds = align(np.stack(hypothesis.attention)).tolist()
        words = []
        heard_until = 0  # the first frame after the previous word's sounds
        for first, last in zip(starts, [*starts[1:], len(pieces)], strict=True):
            text = self._text(hypothesis.tokens[first:last])
            if not text:
                continue
            spoken = last  # a comma or full stop is heard in the pause that follows the word
            while spoken > first + 1 and not any(character.isalnum() for character in pieces[spoken - 1]):
                spoken -= 1
            start, end = bounds[first] * HOP, bounds[spoken] * HOP
            if heard_until < bounds[first]:  # after a mark: its pause may have swallowed the word's beginning
                start = after_pause(audio, heard_until * HOP, end, start)
            heard_until = bounds[spoken]
            start_s, end_s = trim_silence(audio, start, end)
            confidence = math.exp(sum(hypothesis.log_probabilities[first:last]) / (last - first))
            words.append(Word(text, start_s, end_s, confidence))
        return words


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


def align(attention: NDArray[np.float32]) -> NDArray[np.int64]:
    """Which frames belong to which token: the likeliest monotonic split.

    Every token gets a run of at least one frame, in order; the split that maximises the summed
    log-attention is found by dynamic programming, as dynamic time warping does for Whisper's word
    times, with one row of NumPy operations a token.

    Args:
        attention: (tokens, frames), the weight each token gave each frame.

    Returns:
        (tokens + 1,): token i has the frames from entry i up to entry i + 1. Where there are
        more tokens than frames, they share frames evenly.
    """
    tokens, frames = attention.shape
    if tokens > frames:
        return np.linspace(0, frames, tokens + 1).astype(np.int64)
    cost = np.zeros((tokens, frames + 1))
    np.cumsum(-np.log(attention + 1e-6), axis=1, out=cost[:, 1:])
    columns = np.arange(frames + 1)
    best = np.where(columns == 0, 0.0, np.inf)  # cost of having split all frames before a column
    origin = np.zeros((tokens, frames + 1), np.int64)  # where the token that ends there began
    for token in range(tokens):
        begun = best - cost[token]
        lowest = np.minimum.accumulate(begun)
        since = np.maximum.accumulate(np.where(begun <= lowest, columns, 0))
        best = np.concatenate([[np.inf], lowest[:-1] + cost[token, 1:]])
        origin[token, 1:] = since[:-1]
    bounds = np.empty(tokens + 1, np.int64)
    bounds[tokens] = frames
    for token in reversed(range(tokens)):
        bounds[token] = origin[token, bounds[token + 1]]
    return bounds


def trim_silence(audio: Samples, start: int, end: int) -> tuple[float, float]:
    """Takes the silence off both ends of audio[start:end]; returns seconds."""
    loud = np.flatnonzero(_is_loud(audio[start:end]))
    if len(loud):
        start, end = start + int(loud[0]) * ENERGY_FRAME, start + int(loud[-1] + 1) * ENERGY_FRAME
    return start / SAMPLE_RATE, min(end, len(audio)) / SAMPLE_RATE


def after_pause(audio: Samples, start: int, end: int, default: int) -> int:
    """Where speech begins again after the longest silence in audio[start:end], as a sample.

    `default` where there is no silence between sounds.
    """
    loud = np.flatnonzero(_is_loud(audio[start:end]))
    gaps = np.diff(loud)
    if not len(gaps) or gaps.max() <= 1:
        return default
    return start + int(loud[1 + gaps.argmax()]) * ENERGY_FRAME


def _is_loud(audio: Samples) -> NDArray[np.bool_]:
    """Whether each 10 ms of the audio is more than silence, against its loudest moment."""
    count = len(audio) // ENERGY_FRAME
    energy = np.square(audio[: count * ENERGY_FRAME].reshape(count, ENERGY_FRAME)).mean(axis=1)
    loud: NDArray[np.bool_] = energy >= energy.max(initial=0) * QUIET**2
    return loud
