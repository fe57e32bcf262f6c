"""Moonshine Streaming in torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import MoonshineStreamingConfig, MoonshineStreamingForConditionalGeneration

from device_app.audio.samples import Samples
from device_app.recognition.families.moonshine_streaming import STEP, STRIDE, load
from export.bundle import Bundle
from export.graphs.moonshine_streaming import encode
from trainer.autoregressive import TokenLoss, decoder_logits, teacher_forced
from trainer.families.moonshine import tokenise
from trainer.graph_parity import verify

__all__ = ["build", "features", "log_probabilities", "loss", "prepare", "tokenise", "verify_graphs"]


def build(config: Mapping[str, Any], attention: str = "eager") -> MoonshineStreamingForConditionalGeneration:
    """Builds a model with random weights, in evaluation mode.

    Args:
        config: the settings of transformers' MoonshineStreamingConfig.
        attention: transformers' name of the attention implementation.
    """
    settings = MoonshineStreamingConfig(**config, attn_implementation=attention)
    settings.encoder_config._attn_implementation = attention
    return MoonshineStreamingForConditionalGeneration(settings).eval()


def prepare(_model: MoonshineStreamingForConditionalGeneration) -> None:
    """Does nothing: the encoder's masks leave padding out."""


def features(model: MoonshineStreamingForConditionalGeneration, audio: torch.Tensor) -> torch.Tensor:
    """(frames, size) of one utterance, (1, samples) (see `trainer.families.Family`)."""
    return encode(model.model.encoder, _whole_frames(audio))[0]


def _whole_frames(audio: torch.Tensor) -> torch.Tensor:
    """Pads audio (batch, samples) with silence to a multiple of `STEP`."""
    return torch.nn.functional.pad(audio, (0, -audio.shape[1] % STEP))


def _logits(
    model: MoonshineStreamingForConditionalGeneration,
    audio: torch.Tensor,
    lengths: torch.Tensor,
    targets: Sequence[Sequence[int]],
) -> torch.Tensor:
    """float32 (tokens, vocabulary), the tokens of all targets in turn, with teacher forcing."""
    frames = -(-lengths // (STRIDE * STEP))
    hidden = encode(model.model.encoder, _whole_frames(audio), frames)
    inputs, is_target = teacher_forced([model.config.bos_token_id], targets, model.config.eos_token_id, audio.device)
    decoded = model.model.decoder(
        input_ids=inputs,
        encoder_hidden_states=hidden,
        encoder_attention_mask=(torch.arange(hidden.shape[1], device=audio.device) < frames[:, None]).long(),
        use_cache=False,
    ).last_hidden_state
    logits: torch.Tensor = model.proj_out(decoded[is_target])
    return logits.float()


_token_loss = TokenLoss(_logits)
loss, log_probabilities = _token_loss.loss, _token_loss.log_probabilities


def reference_outputs(
    model: MoonshineStreamingForConditionalGeneration, audio: NDArray[np.float32], tokens: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """The outputs of transformers for whole utterances, under the names of the graphs' outputs.

    Args:
        model: eager, in evaluation mode.
        audio: (batch, samples).
        tokens: (batch, steps), the decoder's inputs.

    Returns:
        logits (batch, steps, vocabulary).
    """
    with torch.no_grad():
        values = _whole_frames(torch.from_numpy(audio))
        hidden = model.model.encoder(values, attention_mask=torch.ones_like(values)).last_hidden_state
        return {"logits": decoder_logits(model, hidden, tokens).numpy()}


def verify_graphs(
    model: MoonshineStreamingForConditionalGeneration,
    bundle: Bundle,
    weights: Mapping[str, NDArray[np.float32]],
    recordings: Sequence[Samples] = (),
) -> float:
    """Compares the graphs of a bundle with transformers (see `trainer.graph_parity.verify`)."""
    return verify(
        bundle,
        weights,
        load,
        lambda audio, tokens: reference_outputs(model, audio, tokens),
        lambda audio, max_tokens: generate_tokens(model, audio, max_tokens),
        vocabulary=bundle.config["vocab_size"],
        cache_shape=(model.config.num_attention_heads, model.config.head_dim),
        encoder_inputs=lambda audio: {
            "audio": np.pad(audio, ((0, 0), (0, -audio.shape[1] % STEP))),
            "position": np.array([0]),
        },
        recordings=recordings,
    )


def generate_tokens(model: MoonshineStreamingForConditionalGeneration, audio: Samples, max_tokens: int) -> list[int]:
    """The tokens of transformers' greedy decoding: at most `max_tokens`, without special tokens."""
    values = _whole_frames(torch.from_numpy(audio)[None])
    with torch.no_grad():
        tokens = model.generate(
            values,
            attention_mask=torch.ones_like(values),
            decoder_start_token_id=model.config.bos_token_id,
            max_new_tokens=max_tokens,
            do_sample=False,
        )[0]
    special = {model.config.bos_token_id, model.config.eos_token_id}
    return [token for token in tokens.tolist() if token not in special]
