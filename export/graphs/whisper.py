"""Graphs of Whisper. The features are part of the encoder's graph, so that a device computes them without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.graphs.encoder_decoder import alignment, export_encoder_decoder, one_token, split_heads


class WhisperEncoderGraph(nn.Module):
    """The encoder: audio in, cross-attention keys and values of every decoder layer out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.front_end = model.model, model.front_end  # these names preserve the parameter names

    def forward(self, audio: Tensor) -> tuple[Tensor, ...]:
        """Encodes audio of the model's length, (batch, samples); see `export_encoder_decoder`."""
        hidden = self.model.encoder(self.front_end(audio)).last_hidden_state
        attentions = [layer.encoder_attn for layer in self.model.decoder.layers]
        keys = [split_heads(attention.k_proj(hidden), attention).transpose(2, 3) for attention in attentions]
        return *keys, *(split_heads(attention.v_proj(hidden), attention) for attention in attentions)


class WhisperDecoderGraph(nn.Module):
    """One decoder step: one token in; logits, cross-attention and the extended cache out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.model

    def forward(
        self,
        token: Tensor,
        position: Tensor,
        past_keys: Sequence[Tensor],
        past_values: Sequence[Tensor],
        cross_keys: Sequence[Tensor],
        cross_values: Sequence[Tensor],
    ) -> tuple[Tensor, ...]:
        """Advances by one token; see `export_encoder_decoder`."""
        decoder = self.model.decoder
        batch = token.shape[0]
        hidden = decoder.embed_tokens(token) * decoder.embed_scale + decoder.embed_positions.weight[position]
        keys, values, weights = [], [], []
        for index, layer in enumerate(decoder.layers):
            attention = layer.self_attn
            normed = layer.self_attn_layer_norm(hidden)
            query = one_token(attention.q_proj(normed) * attention.scaling, attention)
            keys.append(torch.cat([past_keys[index], one_token(attention.k_proj(normed), attention)], dim=2))
            values.append(torch.cat([past_values[index], one_token(attention.v_proj(normed), attention)], dim=2))
            weight = torch.softmax(torch.matmul(query, keys[-1].transpose(2, 3)), dim=-1)
            hidden = hidden + attention.out_proj(torch.matmul(weight, values[-1]).reshape(batch, 1, -1))

            attention = layer.encoder_attn
            query = attention.q_proj(layer.encoder_attn_layer_norm(hidden)) * attention.scaling
            weights.append(torch.softmax(torch.matmul(one_token(query, attention), cross_keys[index]), dim=-1))
            mixed = torch.matmul(weights[-1], cross_values[index])
            hidden = hidden + attention.out_proj(mixed.reshape(batch, 1, -1))

            up = layer.activation_fn(layer.fc1(layer.final_layer_norm(hidden)))
            hidden = hidden + layer.fc2(up)
        logits = nn.functional.linear(decoder.layer_norm(hidden), decoder.embed_tokens.weight)
        return logits, alignment(weights), *keys, *values


def export_whisper(model: Any, folder: Path) -> None:
    """Writes the weightless graphs `encoder.onnx` and `decoder.onnx` to `folder`.

    Args:
        model: a model of `trainer.families.whisper`, eager attention.
        folder: created if it does not exist.
    """
    config = model.config
    export_encoder_decoder(
        WhisperEncoderGraph(model),
        WhisperDecoderGraph(model),
        folder,
        layers=config.decoder_layers,
        heads=config.decoder_attention_heads,
        head_dim=config.d_model // config.decoder_attention_heads,
        samples=model.front_end.samples,
    )
