"""What the graphs of autoregressive models have in common: an encoder graph, and a graph of one decoder step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.graphs import weightless

# Word times come from the cross-attention of the last third of the decoder's layers. On spelled and
# digit strings with known word times (training sets), the times cover 0.88 of each word; those from all
# layers cover 0.66, from the last half 0.76, from the twelve best single heads 0.87.
ALIGNMENT_FRACTION = 3  # one layer in three


def export_encoder_decoder(
    encoder: nn.Module,
    decoder: nn.Module,
    folder: Path,
    *,
    layers: int,
    heads: int,
    head_dim: int,
    samples: int | None = None,
    step: int = 1,
    has_position: bool = False,
) -> None:
    """Writes the weightless graphs `encoder.onnx` and `decoder.onnx` to `folder`.

    Args:
        encoder: audio (batch, samples) -> the keys of every decoder layer, (batch, heads, head_dim, frames), then the
            values of every decoder layer, (batch, heads, frames, head_dim). Keys are transposed because each decoder
            step multiplies by them.
        decoder: token (batch, 1), position (1,), past keys and values of every layer, (batch, heads, past, head_dim),
            and the encoder's keys and values -> logits (batch, 1, vocabulary); attention (batch, frames), see
            `alignment`; the keys and values of every layer, one step longer.
        folder: created if it does not exist.
        layers, heads, head_dim: sizes of the decoder.
        samples: length of the audio in samples; None for any length.
        step: the length of the audio is a multiple of this number of samples.
        has_position: whether the encoder's second input is "position", (1,), the number of frames before the audio.
    """
    # The sizes of the examples below do not matter, except that torch.export takes 0 and 1 for constants.
    audio_samples = step * torch.export.Dim("steps") if step > 1 else torch.export.Dim("samples")
    batch, past, frames = (torch.export.Dim(name) for name in ("batch", "past", "frames"))
    names = {
        kind: [f"{kind}.{index}" for index in range(layers)]
        for kind in ("past_key", "past_value", "cross_key", "cross_value", "key", "value")
    }

    def example(*shape: int) -> list[Tensor]:
        return [torch.zeros(shape) for _ in range(layers)]

    weightless.export_graph(
        encoder,
        folder / "encoder.onnx",
        args=(torch.zeros(2, samples or 16000), *([torch.tensor([3])] if has_position else [])),
        dynamic_shapes=(
            {0: batch} if samples else {0: batch, 1: audio_samples},
            *([{}] if has_position else []),
        ),
        inputs=["audio", *(["position"] if has_position else [])],
        outputs=[*names["cross_key"], *names["cross_value"]],
    )
    weightless.export_graph(
        decoder,
        folder / "decoder.onnx",
        args=(
            torch.zeros(2, 1, dtype=torch.int64),
            torch.tensor([5]),
            *(example(2, heads, 5, head_dim) for _ in range(2)),
            example(2, heads, head_dim, 41),
            example(2, heads, 41, head_dim),
        ),
        dynamic_shapes=(
            {0: batch},
            {},
            *([{0: batch, 2: past}] * layers for _ in range(2)),
            [{0: batch, 3: frames}] * layers,
            [{0: batch, 2: frames}] * layers,
        ),
        inputs=[
            "token",
            "position",
            *names["past_key"],
            *names["past_value"],
            *names["cross_key"],
            *names["cross_value"],
        ],
        outputs=["logits", "attention", *names["key"], *names["value"]],
    )


def alignment(weights: Sequence[Tensor]) -> Tensor:
    """(batch, frames): the mean cross-attention of the last third of the layers, from which word times are computed.

    Args:
        weights: the cross-attention of each layer, (batch, heads, 1, frames).
    """
    return torch.cat([*weights[-max(1, len(weights) // ALIGNMENT_FRACTION) :]], dim=1).mean(dim=1)[:, 0]


def split_heads(x: Tensor, attention: Any) -> Tensor:
    """(batch, time, heads * head_dim) -> (batch, heads, time, head_dim)."""
    return x.unflatten(2, (-1, attention.head_dim)).transpose(1, 2)


def one_token(x: Tensor, attention: Any) -> Tensor:
    """(batch, 1, heads * head_dim) -> (batch, heads, 1, head_dim), without a transpose."""
    return x.reshape(x.shape[0], -1, 1, attention.head_dim)
