"""Compares the graphs of autoregressive models with the models of transformers that they were exported from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.recognition.onnx_session import session
from export.bake import bake
from export.bundle import Bundle
from export.verify import check_numbers, check_tokens

Outputs = dict[str, NDArray[np.float32]]


def run_graphs(
    encoder: Any,
    decoder: Any,
    cache_shape: tuple[int, int],
    encoder_feed: Mapping[str, NDArray[Any]],
    tokens: NDArray[np.int64],
) -> Outputs:
    """The outputs of an encoder's and a decoder's graph; the decoder runs step by step from an empty cache.

    Args:
        encoder: ONNX Runtime session of the encoder.
        decoder: ONNX Runtime session of the decoder.
        cache_shape: heads and head_dim of the decoder.
        encoder_feed: the encoder's inputs, by name.
        tokens: (batch, steps), the decoder's inputs.

    Returns:
        The encoder's outputs by name, and logits (batch, steps, vocabulary).
    """
    cross = dict(zip([o.name for o in encoder.get_outputs()], encoder.run(None, encoder_feed), strict=True))
    # The decoder's first two outputs are logits and attention; the others are the cache, which it takes as "past_NAME".
    names = [output.name for output in decoder.get_outputs()][2:]
    heads, head_dim = cache_shape
    cache = [np.zeros((len(tokens), heads, 0, head_dim), np.float32)] * len(names)
    logits = []
    for position in range(tokens.shape[1]):
        past = {f"past_{name}": array for name, array in zip(names, cache, strict=True)}
        feed = {"token": tokens[:, position : position + 1], "position": np.array([position])}
        step, _, *cache = decoder.run(None, {**cross, **past, **feed})
        logits.append(step)
    return {**cross, "logits": np.concatenate(logits, axis=1)}


def verify(
    bundle: Bundle,
    weights: Mapping[str, NDArray[np.float32]],
    load: Callable[[Bundle, Path, int], Any],
    reference: Callable[[NDArray[np.float32], NDArray[np.int64]], Outputs],
    generate: Callable[[Samples, int], list[int]],
    *,
    vocabulary: int,
    cache_shape: tuple[int, int],
    samples: int | None = None,
    encoder_inputs: Callable[[NDArray[np.float32]], Mapping[str, NDArray[Any]]] = lambda audio: {"audio": audio},
    recordings: Sequence[Samples] = (),
) -> float:
    """Bakes a bundle to fp32 and compares its outputs with those of transformers.

    Compares numbers on noise of several lengths and batch sizes, and the tokens of greedy decoding on
    real recordings.

    Args:
        bundle: its graphs are verified.
        weights: float32 by parameter name; those of the model of transformers.
        load: the function `load` of the family in `device_app.recognition.families`.
        reference: audio (batch, samples) and the decoder's inputs (batch, steps) -> the outputs of transformers under
            the names of the graphs' outputs.
        generate: audio (samples,) and a number of tokens -> the tokens of transformers' greedy decoding, at most so
            many, without special tokens.
        vocabulary: number of tokens.
        cache_shape: heads and head_dim of the decoder.
        samples: length of the encoder's input; None for any length.
        encoder_inputs: makes the inputs of the encoder's graph from audio (batch, samples).
        recordings: (samples,) each, at 16 kHz.

    Returns:
        The largest difference, at most 1e-4 (see `export.verify.largest_difference`).

    Raises:
        ParityError: an output differs.
    """
    random = np.random.default_rng(0)
    worst = 0.0
    with TemporaryDirectory() as name:
        folder = Path(name)
        bake(bundle, weights, "fp32", folder)
        encoder, decoder = (session(folder / f"{graph}.onnx", 2) for graph in ("encoder", "decoder"))
        for batch, seconds, steps in ((1, 0.1, 1), (1, 3.7, 9), (2, 1.3, 5), (3, 2.0, 12)):
            size = samples or round(seconds * SAMPLE_RATE)
            audio = (0.1 * random.standard_normal((batch, size))).astype(np.float32)
            tokens = random.integers(3, vocabulary, (batch, steps))  # 0 to 2 are special tokens of Moonshine
            found = run_graphs(encoder, decoder, cache_shape, encoder_inputs(audio), tokens)
            worst = max(worst, check_numbers(reference(audio, tokens), found))
        if recordings:
            recogniser = load(bundle, folder, 2)
            for audio in recordings:
                hypothesis = recogniser.decode(audio)
                # Allows one token more than an ended hypothesis has, to check that torch ends at the same token.
                max_tokens = len(hypothesis.tokens) + hypothesis.is_complete
                check_tokens(generate(audio, max_tokens), hypothesis.tokens)
    return worst
