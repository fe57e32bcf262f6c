"""Moonshine Streaming on ONNX Runtime: the encoder goes on while the person speaks.

Each frame of the encoder's output depends only on some frames around it, so the frames of audio that was encoded
before are kept, and only the new ones are computed. What a second of speech costs does not depend on what precedes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import Samples
from device_app.recognition.encoder_decoder.decoder import Layout, check_whole, reads_configuration
from device_app.recognition.encoder_decoder.recogniser import EncoderDecoderRecogniser, load_encoder_decoder
from device_app.recognition.options import DEFAULT, DecodingOptions
from export.bundle import Bundle

STEP = 80  # samples of audio in one input frame
STRIDE = 4  # input frames in one output frame: two convolutions of stride 2
HOP = STRIDE * STEP
CONVOLUTIONS = 3  # output frames before a frame that the two causal convolutions see
MAX_WINDOW = 1 << 20  # output frames
TOKENS_PER_S = 13.0  # as for Moonshine
UNSPOKEN = ("\N{COPYRIGHT SIGN}",)  # as for Moonshine


def load(bundle: Bundle, baked: Path, threads: int, options: DecodingOptions = DEFAULT) -> EncoderDecoderRecogniser:
    """Loads the encoder and decoder that `export.bake` wrote into `baked`.

    Raises:
        BadInputError: the options have a language model, which is for CTC models only.
        BundleError: a file is missing or damaged, or the configuration is not that of such a model.
    """
    with reads_configuration(bundle) as config:
        heads = config["num_attention_heads"]
        windows = config["encoder_config"]["sliding_windows"]
        for frames in (frames for window in windows for frames in window):
            check_whole("a sliding window", frames, 0, MAX_WINDOW)
        # A window counts the frame itself on both sides; the windows of all layers add up.
        before = CONVOLUTIONS + sum(max(0, left - 1) for left, _ in windows)
        after = sum(max(0, right - 1) for _, right in windows)
        layout = Layout(
            layers=config["num_hidden_layers"],
            heads=heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            start=[config["bos_token_id"]],
            end=config["eos_token_id"],
            max_tokens=config["max_position_embeddings"],
            tokens_per_s=TOKENS_PER_S,
            hop=HOP,
        )

    def make_encode(encoder: Any) -> IncrementalEncoder:
        return IncrementalEncoder(encoder, layout, before, after)

    return load_encoder_decoder(bundle, baked, threads, options, layout, make_encode=make_encode, unspoken=UNSPOKEN)


class IncrementalEncoder:
    """Encodes audio; keeps the frames of the latest audio for audio that begins in the same way.

    Attributes:
        encoded: number of output frames that have been computed so far, for measurements.
    """

    def __init__(self, encoder: Any, layout: Layout, before: int, after: int) -> None:
        """
        Args:
            encoder: the ONNX Runtime session.
            layout: the layout of the model.
            before, after: how many output frames before and after a frame it depends on.
        """
        self._encoder, self._layout = encoder, layout
        self._before, self._after = before, after
        empty = [np.zeros((1, layout.heads, layout.head_dim, 0), np.float32)] * layout.layers
        empty += [np.zeros((1, layout.heads, 0, layout.head_dim), np.float32)] * layout.layers
        # Replaced as one object, so that calls from several threads never see audio with the frames of other audio.
        self._latest: tuple[Samples, list[NDArray[np.float32]]] = np.zeros(0, np.float32), empty
        self.encoded = 0

    def __call__(self, audio: Samples) -> list[NDArray[np.float32]]:
        """Audio (samples,) -> the outputs of the encoder's graph."""
        audio = np.pad(audio, (0, -len(audio) % STEP))
        earlier, outputs = self._latest
        # Output frames whose whole context is the same in both, so that the earlier ones are kept.
        kept = max(0, (_common(earlier, audio) // STEP - 1) // STRIDE + 1 - self._after)
        start = max(0, kept - self._before)  # the first frame to compute; those before `kept` are only context
        feed = {"audio": audio[None, start * HOP :], "position": np.array([start])}
        computed = self._encoder.run(self._layout.cross_names, feed)
        self.encoded += -(-len(audio) // HOP) - start
        layers = self._layout.layers
        joined = []
        for index, (old, new) in enumerate(zip(outputs, computed, strict=True)):
            axis = 3 if index < layers else 2  # of the frames; keys, which come first, are transposed
            parts = [np.take(old, range(kept), axis), np.take(new, range(kept - start, new.shape[axis]), axis)]
            joined.append(np.concatenate(parts, axis))
        self._latest = audio, joined
        return joined


def _common(one: Samples, other: Samples) -> int:
    """How many samples are the same at the start of both."""
    size = min(len(one), len(other))
    differing = np.flatnonzero(one[:size] != other[:size])
    return int(differing[0]) if len(differing) else size
