"""The decoder of an encoder-decoder model, one step at a time, for `decoder_search`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_app.recognition.decoder_search import Decoder, log_softmax
from editing.errors import BundleError, one_line
from editing.json_text import is_whole_number, shown
from export.bundle import Bundle

MAX_NUMBER = 1 << 31  # of a configuration; no model has a larger one
KINDS = ("key", "value")  # what is cached of each attention layer


@dataclass(frozen=True)
class Layout:
    """Sizes and special tokens of a model, which decoding needs.

    Attributes:
        layers, heads, head_dim: sizes of the decoder.
        start: the tokens that every hypothesis begins with, such as Whisper's language and task.
        end: the token that ends a hypothesis.
        max_tokens: number of positions of the decoder, in tokens.
        tokens_per_s: the limit on the length of a hypothesis, per second of audio.
        hop: samples of audio in one frame of the encoder's output.
        samples: length of the encoder's input, to which shorter audio is padded with silence; None for any length.
        suppressed: tokens that no hypothesis may have.
        suppressed_first: tokens that no hypothesis may begin with.
        text_prefix: before the text of a segment, so that its tokens are those that the model outputs.
    """

    layers: int
    heads: int
    head_dim: int
    start: Sequence[int]
    end: int
    max_tokens: int
    tokens_per_s: float
    hop: int
    samples: int | None = None
    suppressed: Sequence[int] = ()
    suppressed_first: Sequence[int] = ()
    text_prefix: str = ""

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: a number is none that a model can have. The numbers come from a file, `model.json`.
        """
        for name in ("layers", "heads", "head_dim", "hop"):
            check_whole(name, getattr(self, name), 1)
        if self.samples is not None:
            check_whole("samples", self.samples, 1)
        if not self.start:
            raise ValueError("there is no token to start with")
        for token in (*self.start, self.end, *self.suppressed, *self.suppressed_first):
            check_whole("a token", token, 0)
        check_whole("max_tokens", self.max_tokens, len(self.start))

    @property
    def largest_token(self) -> int:
        return max(*self.start, self.end, *self.suppressed, *self.suppressed_first)

    @property
    def cross_names(self) -> list[str]:
        """The outputs of the encoder's graph: keys of every decoder layer, then values."""
        return [f"cross_{kind}.{i}" for kind in KINDS for i in range(self.layers)]


def check_whole(name: str, value: object, minimum: int, maximum: int = MAX_NUMBER) -> None:
    """Checks a number of `model.json`.

    Raises:
        ValueError: it is not a whole number from `minimum` to `maximum`.
    """
    if not is_whole_number(value, minimum, maximum):
        raise ValueError(f"{name} is {shown(value)}; expected a whole number from {minimum} to {maximum}")


@contextmanager
def reads_configuration(bundle: Bundle) -> Iterator[Mapping[str, Any]]:
    """Gives a block the configuration in `model.json`, and reports what the block cannot read in it.

    Raises:
        BundleError: a key is missing, or a value is not of the type or in the range that the block needs.
    """
    try:
        yield bundle.config
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise BundleError(
            f"{bundle.folder}: the configuration in model.json is damaged ({one_line(str(error))})"
        ) from error


class CachedDecoder:
    """A `decoder_search.Decoder`: the graph of one decoder step, and the cache, which grows with every step."""

    def __init__(self, graph: Any, layout: Layout, cross: Mapping[str, NDArray[np.float32]], frames: int) -> None:
        """
        Args:
            graph: the ONNX Runtime session.
            layout: the layout of the model.
            cross: the encoder's keys and values by name, with batch size 1; broadcast to all hypotheses.
            frames: number of frames of the encoder's output that are not padding.

        Feeds all tokens of `Layout.start` but the last, which is the first argument of `step`.
        """
        self._graph = graph
        self._cross = cross
        self._frames = frames
        self._past = [f"past_{kind}.{i}" for kind in KINDS for i in range(layout.layers)]
        self._cache = [np.zeros((1, layout.heads, 0, layout.head_dim), np.float32)] * len(self._past)
        self._position = 0
        for token in layout.start[:-1]:
            self.step(np.array([token]), np.array([0]))

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
        return log_softmax(logits[:, 0]), attention[:, : self._frames]


class SuppressingDecoder:
    """A `decoder_search.Decoder` that gives some tokens no probability."""

    def __init__(self, decoder: Decoder, layout: Layout) -> None:
        self._decoder = decoder
        self._always = list(layout.suppressed)
        self._suppressed_next = [*layout.suppressed, *layout.suppressed_first]  # in the next step

    def step(
        self, tokens: NDArray[np.int64], parents: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        log_probabilities, attention = self._decoder.step(tokens, parents)
        log_probabilities[:, self._suppressed_next] = -np.inf
        self._suppressed_next = self._always
        return log_probabilities, attention
