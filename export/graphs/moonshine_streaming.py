"""Graphs of Moonshine Streaming, whose encoder sees only a few frames around each frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.graphs.encoder_decoder import export_encoder_decoder, split_heads
from export.graphs.moonshine import MoonshineDecoderGraph

STEP = 80  # samples of audio in one input frame, 5 ms


def encode(encoder: Any, audio: Tensor, frames: Tensor | None = None) -> Tensor:
    """The encoder of transformers, with masks that depend on nothing but the number of frames.

    transformers leaves the windows out if it gets no mask, and extends the mask of a padded utterance by two frames.

    Args:
        encoder: MoonshineStreamingEncoder.
        audio: (batch, samples); the number of samples is a multiple of `STEP`.
        frames: (batch,), the output frames of each utterance that are not padding; None for all.

    Returns:
        (batch, output frames, hidden).
    """
    hidden = encoder.embedder(audio)[0]
    places = torch.arange(hidden.shape[1], device=audio.device)  # of the output frames
    before = places[:, None] - places[None, :]  # frames from the key to the query
    for layer, (left, right) in zip(encoder.layers, encoder.config.sliding_windows, strict=True):
        # As in transformers, both windows count the query's own frame, which is allowed even if `right` is 0.
        allowed = ((before > -max(right, 1)) & (before < left))[None, None]
        if frames is not None:
            allowed = allowed & (places < frames[:, None])[:, None, None]
        mask = torch.where(allowed, 0.0, torch.finfo(torch.float32).min)
        hidden = layer(hidden, attention_mask=mask.to(hidden.dtype))
    normed: Tensor = encoder.final_norm(hidden)
    return normed


class MoonshineStreamingEncoderGraph(nn.Module):
    """The encoder: a window of audio in, cross-attention keys and values of every decoder layer out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.model

    def forward(self, audio: Tensor, position: Tensor) -> tuple[Tensor, ...]:
        """Encodes audio (batch, samples) that begins at the frame `position`, (1,); see `export_encoder_decoder`."""
        decoder = self.model.decoder
        hidden = encode(self.model.encoder, audio)
        places = position + torch.arange(hidden.shape[1], device=audio.device)
        hidden = decoder.proj(hidden + decoder.pos_emb.weight[places])
        attentions = [layer.encoder_attn for layer in decoder.layers]
        keys = [split_heads(attention.k_proj(hidden), attention).transpose(2, 3) for attention in attentions]
        return *keys, *(split_heads(attention.v_proj(hidden), attention) for attention in attentions)


class MoonshineStreamingDecoderGraph(MoonshineDecoderGraph):
    """One decoder step, as that of Moonshine; the output layer is not the embedding."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.proj_out = model.proj_out

    def logits(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden, self.proj_out.weight)


def export_moonshine_streaming(model: Any, folder: Path) -> None:
    """Writes the weightless graphs `encoder.onnx` and `decoder.onnx` to `folder`.

    Args:
        model: MoonshineStreamingForConditionalGeneration of transformers, eager attention.
        folder: created if it does not exist.
    """
    config = model.config
    export_encoder_decoder(
        MoonshineStreamingEncoderGraph(model),
        MoonshineStreamingDecoderGraph(model),
        folder,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        head_dim=config.head_dim,
        step=STEP,
        has_position=True,
    )
