"""Exports torch models as weightless ONNX graphs. The only module of this package that needs torch.

The initialisers of a graph are named exactly as the model's parameters and have no data: each
refers to `weights.safetensors` as ONNX external data without an offset. A merge on the device
therefore only needs numpy on that file, and a new ONNX file needs neither torch nor tracing
(`export.bake`).

The forward passes below compute the same values as the modules of transformers, from the same
parameters, with fewer nodes: queries, keys and values in one product, attention for a single new
token without transposes. `export.verify` and the tests compare their outputs with transformers.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from editing.files import write_atomically
from export.bundle import GRAPHS, NEMO_GRAPH, WEIGHTS

OPSET = 23  # the first with the operator RotaryEmbedding

# Word times come from the cross-attention of the last third of the decoder's layers. On spelled and
# digit strings with known word times (training sets), it covers 0.88 of each word; all layers cover
# 0.66, the last half 0.76, the twelve best single heads 0.87.
ALIGNMENT_FRACTION = 3


class MoonshineEncoderGraph(nn.Module):
    """The encoder: audio in, cross-attention keys and values of every decoder layer out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.model  # this attribute name preserves the parameter names

    def forward(self, audio: Tensor) -> tuple[Tensor, ...]:
        """Encodes audio of shape (batch, samples).

        Returns:
            The keys of every decoder layer, (batch, heads, head_dim, frames), then the values of
            every decoder layer, (batch, heads, frames, head_dim). Keys are transposed because each
            decoder step multiplies by them.
        """
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
            query = _split_heads(_rotate(query, cos, sin, attention), attention) * attention.scaling
            key = _split_heads(_rotate(key, cos, sin, attention), attention)
            weight = torch.softmax(torch.matmul(query, key.transpose(2, 3)), dim=-1)
            mixed = torch.matmul(weight, _split_heads(value, attention))
            hidden = hidden + attention.o_proj(mixed.transpose(1, 2).flatten(2))
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        attentions = [layer.encoder_attn for layer in decoder.layers]
        projected = _project(
            encoder.layer_norm(hidden), *(a.k_proj for a in attentions), *(a.v_proj for a in attentions)
        )
        heads = [_split_heads(x, attentions[0]) for x in projected]
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
        """Advances by one token.

        Args:
            token: (batch, 1), int64.
            position: (1,), int64: the number of preceding tokens.
            past_keys, past_values: per layer (batch, heads, past, head_dim); past may be 0.
            cross_keys, cross_values: outputs of the encoder graph.

        Returns:
            logits (batch, 1, vocabulary); attention (batch, frames), the mean cross-attention
            weights of the last third of the layers, from which word times are computed; then
            past_keys and past_values of every layer, one step longer.
        """
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
            query = _one_token(_rotate(query, cos, sin, attention), attention) * attention.scaling
            key = _one_token(_rotate(key, cos, sin, attention), attention)
            keys.append(torch.cat([past_keys[index], key], dim=2))
            values.append(torch.cat([past_values[index], _one_token(value, attention)], dim=2))
            weight = torch.softmax(torch.matmul(query, keys[-1].transpose(2, 3)), dim=-1)
            mixed = torch.matmul(weight, values[-1])
            hidden = hidden + attention.o_proj(mixed.reshape(batch, 1, -1))

            attention = layer.encoder_attn
            query = attention.q_proj(layer.post_attention_layernorm(hidden))
            query = _one_token(query, attention) * attention.scaling
            weights.append(torch.softmax(torch.matmul(query, cross_keys[index]), dim=-1))
            mixed = torch.matmul(weights[-1], cross_values[index])
            hidden = hidden + attention.o_proj(mixed.reshape(batch, 1, -1))

            # Not layer.mlp(): its chunk() is exported as a sequence of tensors, which no runtime fuses.
            up = layer.mlp.fc1(layer.final_layernorm(hidden))
            half = layer.mlp.fc2.in_features
            hidden = hidden + layer.mlp.fc2(nn.functional.silu(up[..., half:]) * up[..., :half])
        logits = nn.functional.linear(decoder.norm(hidden), decoder.embed_tokens.weight)
        attention_weights = torch.cat(weights[-max(1, len(weights) // ALIGNMENT_FRACTION) :], dim=1)
        return logits, attention_weights.mean(dim=1)[:, 0], *keys, *values


def export_moonshine(model: Any, folder: Path) -> None:
    """Writes the weightless graphs `encoder.onnx` and `decoder.onnx` to `folder`.

    Args:
        model: MoonshineForConditionalGeneration of transformers, any size, eager attention.
        folder: created if it does not exist.
    """
    config = model.config
    layers, heads = config.decoder_num_hidden_layers, config.decoder_num_attention_heads
    head_dim = config.hidden_size // heads
    batch, past, frames = (torch.export.Dim(name) for name in ("batch", "past", "frames"))
    names = {
        kind: [f"{kind}.{index}" for index in range(layers)]
        for kind in ("past_key", "past_value", "cross_key", "cross_value", "key", "value")
    }

    def example(*shape: int) -> list[Tensor]:
        return [torch.zeros(shape) for _ in range(layers)]

    _export(
        MoonshineEncoderGraph(model),
        folder / "encoder.onnx",
        args=(torch.zeros(2, 16000),),
        dynamic_shapes=({0: batch, 1: torch.export.Dim("samples")},),
        inputs=["audio"],
        outputs=[*names["cross_key"], *names["cross_value"]],
    )
    _export(
        MoonshineDecoderGraph(model),
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


class CtcGraph(nn.Module):
    """A CTC model: audio in, log-probabilities of every token and the blank, one row per frame, out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.ctc_head, self.front_end = model.encoder, model.ctc_head, model.front_end

    def forward(self, audio: Tensor) -> Tensor:
        """(batch, samples) -> (batch, frames, vocabulary)."""
        return torch.log_softmax(self.ctc_head(self.encoder(self.front_end(audio)).last_hidden_state), dim=-1)


class NemoCtcGraph(nn.Module):
    """The CTC model without its front end, with the inputs that onnx-asr and sherpa-onnx pass to a NeMo model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.ctc_head = model.encoder, model.ctc_head

    def forward(self, audio_signal: Tensor, length: Tensor) -> Tensor:
        """Features (batch, bins, frames) and their lengths (batch,) -> log-probabilities (batch, rows, vocabulary)."""
        mask = (torch.arange(audio_signal.shape[2]) < length[:, None]).long()
        encoded = self.encoder(audio_signal.transpose(1, 2), attention_mask=mask)
        return torch.log_softmax(self.ctc_head(encoded.last_hidden_state), dim=-1)


def export_conformer_ctc(model: Any, folder: Path) -> None:
    """Writes `graphs/ctc.onnx` (audio to log-probabilities) and `nemo/model.onnx` (features to log-probabilities).

    Args:
        model: a model of `trainer.families.conformer_ctc`, eager attention.
        folder: of the bundle; created if it does not exist.
    """
    batch = torch.export.Dim("batch")
    bins = model.config.encoder_config.num_mel_bins
    _export(
        NemoCtcGraph(model),
        folder / NEMO_GRAPH,
        args=(torch.zeros(2, bins, 100), torch.tensor([100, 90])),
        dynamic_shapes=({0: batch, 2: torch.export.Dim("frames", min=16)}, {0: batch}),
        inputs=["audio_signal", "length"],
        outputs=["logprobs"],
    )
    _export(
        CtcGraph(model),
        folder / GRAPHS / "ctc.onnx",
        args=(torch.zeros(2, 16000),),
        dynamic_shapes=({0: batch, 1: torch.export.Dim("samples", min=1600)},),
        inputs=["audio"],
        outputs=["log_probabilities"],
    )


def export_auto_ctc(model: nn.Module, folder: Path) -> None:
    """Writes `graphs/ctc.onnx` (audio to log-probabilities).

    Args:
        model: a model of `trainer.families.auto_ctc`, eager attention.
        folder: of the bundle; created if it does not exist.
    """
    _export(
        model,
        folder / GRAPHS / "ctc.onnx",
        args=(torch.zeros(1, 16000),),
        dynamic_shapes=({1: torch.export.Dim("samples", min=1600)},),
        inputs=["audio"],
        outputs=["log_probabilities"],
    )


def _export(
    module: nn.Module,
    path: Path,
    *,
    args: tuple[Any, ...],
    dynamic_shapes: tuple[Any, ...],
    inputs: list[str],
    outputs: list[str],
) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns about missing torchvision operators
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch, which a caller cannot act on
        program = torch.onnx.export(
            module.eval(),
            args,
            dynamo=True,
            optimize=False,  # optimisation folds transposes into the weights, which loses the names
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=dynamic_shapes,
            verbose=False,
        )
    assert program is not None
    graph = without_weights(program.model_proto, {**dict(module.named_parameters()), **module.state_dict()})
    write_atomically(path, graph.SerializeToString())


def without_weights(model: onnx.ModelProto, weights: Mapping[str, Any]) -> onnx.ModelProto:
    """Removes the data of every initialiser that is among `weights`, and the stack traces of the nodes."""
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            del tensor.external_data[:]
            tensor.external_data.add(key="location", value=WEIGHTS)
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    return model


def _rotation(module: Any, positions: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin, each (1, positions, rotary_dim / 2)."""
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


def _split_heads(x: Tensor, attention: Any) -> Tensor:
    """(batch, time, heads * head_dim) -> (batch, heads, time, head_dim)."""
    return x.unflatten(2, (-1, attention.head_dim)).transpose(1, 2)


def _one_token(x: Tensor, attention: Any) -> Tensor:
    """(batch, 1, heads * head_dim) -> (batch, heads, 1, head_dim), without a transpose."""
    return x.reshape(x.shape[0], -1, 1, attention.head_dim)
