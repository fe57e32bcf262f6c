"""Graphs of Moonshine.

The forward passes below compute the same values as the modules of transformers, from the same
parameters, with fewer nodes: queries, keys and values in one product, attention for a single new
token without transposes. `export.verify` and the tests compare their outputs with transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.graphs.encoder_decoder import alignment, export_encoder_decoder, one_token, split_heads


class MoonshineEncoderGraph(nn.Module):
    """The encoder: audio in, cross-attention keys and values of every decoder layer out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.model  # this attribute name preserves the parameter names

    def forward(self, audio: Tensor) -> tuple[Tensor, ...]:
        """Encodes audio (batch, samples); see `export_encoder_decoder`."""
        encoder, decoder = self.model.encoder, self.model.decoder
        hidden = torch.tanh(encoder.conv1(audio.unsqueeze(1)))
        hidden = encoder.groupnorm(hidden)
        hidden = nn.functional.gelu(encoder.conv2(hidden))
        hidden = nn.functional.gelu(encoder.conv3(hidden)).transpose(1, 2)
        cos, sin = _rotation(encoder.rotary_emb, torch.arange(hidden.shape[1], device=hidden.device))
        for layer in encoder.layers:
            attention = layer.self_attn
            query, key, value = _project(
                layer.input_layernorm(hidden), attention.q_proj, attention.k_proj, attention.v_proj
            )
            query = split_heads(_rotate(query, cos, sin, attention), attention) * attention.scaling
            key = split_heads(_rotate(key, cos, sin, attention), attention)
            weight = torch.softmax(torch.matmul(query, key.transpose(2, 3)), dim=-1)
            mixed = torch.matmul(weight, split_heads(value, attention))
            hidden = hidden + attention.o_proj(mixed.transpose(1, 2).flatten(2))
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        attentions = [layer.encoder_attn for layer in decoder.layers]
        projected = _project(
            encoder.layer_norm(hidden), *(a.k_proj for a in attentions), *(a.v_proj for a in attentions)
        )
        heads = [split_heads(x, attentions[0]) for x in projected]
        count = len(attentions)
        return *(key.transpose(2, 3) for key in heads[:count]), *heads[count:]


class MoonshineDecoderGraph(nn.Module):
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
        hidden = decoder.embed_tokens(token)
        cos, sin = _rotation(decoder.rotary_emb, position)
        keys, values, weights = [], [], []
        for index, layer in enumerate(decoder.layers):
            attention = layer.self_attn
            query, key, value = _project(
                layer.input_layernorm(hidden), attention.q_proj, attention.k_proj, attention.v_proj
            )
            query = one_token(_rotate(query, cos, sin, attention), attention) * attention.scaling
            key = one_token(_rotate(key, cos, sin, attention), attention)
            keys.append(torch.cat([past_keys[index], key], dim=2))
            values.append(torch.cat([past_values[index], one_token(value, attention)], dim=2))
            weight = torch.softmax(torch.matmul(query, keys[-1].transpose(2, 3)), dim=-1)
            mixed = torch.matmul(weight, values[-1])
            hidden = hidden + attention.o_proj(mixed.reshape(batch, 1, -1))

            attention = layer.encoder_attn
            query = attention.q_proj(layer.post_attention_layernorm(hidden))
            query = one_token(query, attention) * attention.scaling
            weights.append(torch.softmax(torch.matmul(query, cross_keys[index]), dim=-1))
            mixed = torch.matmul(weights[-1], cross_values[index])
            hidden = hidden + attention.o_proj(mixed.reshape(batch, 1, -1))

            # Not layer.mlp(): its chunk() is exported as a sequence of tensors, which no runtime fuses.
            up = layer.mlp.fc1(layer.final_layernorm(hidden))  # values, then their gates
            half = layer.mlp.fc2.in_features
            hidden = hidden + layer.mlp.fc2(nn.functional.silu(up[..., half:]) * up[..., :half])
        return self.logits(decoder.norm(hidden)), alignment(weights), *keys, *values

    def logits(self, hidden: Tensor) -> Tensor:
        """(batch, 1, hidden) -> (batch, 1, vocabulary); the output layer is the transposed embedding."""
        return nn.functional.linear(hidden, self.model.decoder.embed_tokens.weight)


def export_moonshine(model: Any, folder: Path) -> None:
    """Writes the weightless graphs `encoder.onnx` and `decoder.onnx` to `folder`.

    Args:
        model: MoonshineForConditionalGeneration of transformers, any size, eager attention.
        folder: created if it does not exist.
    """
    config = model.config
    heads = config.decoder_num_attention_heads
    export_encoder_decoder(
        MoonshineEncoderGraph(model),
        MoonshineDecoderGraph(model),
        folder,
        layers=config.decoder_num_hidden_layers,
        heads=heads,
        head_dim=config.hidden_size // heads,
    )


def _rotation(module: Any, positions: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of the rotary embedding `module` at positions (positions,), each (1, positions, rotary_dim / 2)."""
    angles = positions[:, None].float() * module.inv_freq
    return angles.cos()[None], angles.sin()[None]


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, attention: Any) -> Tensor:
    """Rotary embedding of x (batch, time, heads * head_dim), neighbouring entries as pairs."""
    return torch.onnx.ops.rotary_embedding(
        x,
        cos.expand(x.shape[0], -1, -1),
        sin.expand(x.shape[0], -1, -1),
        interleaved=True,
        num_heads=attention.config.num_attention_heads,
        rotary_embedding_dim=2 * cos.shape[-1],
    )


def _project(x: Tensor, *layers: nn.Linear) -> list[Tensor]:
    """The outputs of linear layers without biases for x, computed as one product."""
    joint = nn.functional.linear(x, torch.cat([layer.weight for layer in layers]))
    parts, start = [], 0
    for layer in layers:  # slices, because split() is exported as a sequence of tensors
        parts.append(joint[..., start : start + layer.out_features])
        start += layer.out_features
    return parts
