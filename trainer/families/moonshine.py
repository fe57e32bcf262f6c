"""Moonshine in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import MoonshineConfig, MoonshineForConditionalGeneration

from device_app.audio.samples import Samples
from device_app.recognition.families.moonshine import HOP, load
from export.bundle import Bundle
from trainer.autoregressive import TokenLoss, graph_outputs, teacher_forced, text_tokeniser
from trainer.graph_parity import verify

FRONT_END = ((127, 64), (7, 3), (3, 2))  # kernel and stride of the encoder's three convolutions


def build(config: Mapping[str, Any], attention: str = "eager") -> MoonshineForConditionalGeneration:
    """Builds a model with random weights, in evaluation mode.

    Args:
        config: the settings under "config" in `model.json`; missing ones have transformers' defaults.
        attention: transformers' name of the attention implementation. "eager" can be exported to
            ONNX, "sdpa" trains faster.
    """
    model = MoonshineForConditionalGeneration(MoonshineConfig(**config, attn_implementation=attention))
    return model.eval()


class MaskedGroupNorm(torch.nn.Module):
    """The front end's group norm without the padding frames, so that padding does not change the output.

    Attributes:
        frames: (batch,), each utterance's number of frames in the next batch.
    """

    def __init__(self, norm: torch.nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.frames = torch.zeros(0, dtype=torch.long)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Normalises (batch, channels, frames) over the channels and frames of each utterance."""
        hidden = hidden.float()
        mask = (torch.arange(hidden.shape[2], device=hidden.device) < self.frames[:, None])[:, None]
        count = (self.frames * hidden.shape[1])[:, None, None]
        mean = (hidden * mask).sum((1, 2), keepdim=True) / count
        variance = ((hidden - mean).square() * mask).sum((1, 2), keepdim=True) / count
        return (hidden - mean) * torch.rsqrt(variance + self.eps) * self.weight[:, None] + self.bias[:, None]


def prepare(model: MoonshineForConditionalGeneration) -> None:
    """Replaces the group norm, so that padding does not change the model's outputs."""
    model.model.encoder.groupnorm = MaskedGroupNorm(model.model.encoder.groupnorm)


def tokenise(bundle: Bundle) -> Callable[[str], list[int]]:
    """Returns the function that turns a text into tokens (see `trainer.autoregressive.text_tokeniser`).

    No character is unknown: those outside the vocabulary become byte tokens.
    """
    return text_tokeniser(bundle, int(bundle.config["eos_token_id"]), int(bundle.config["max_position_embeddings"]))


def features(model: MoonshineForConditionalGeneration, audio: torch.Tensor) -> torch.Tensor:
    """(frames, size) of one utterance, (1, samples) (see `trainer.families.Family`)."""
    hidden: torch.Tensor = model.model.encoder(audio).last_hidden_state
    return hidden[0]


def _logits(
    model: MoonshineForConditionalGeneration,
    audio: torch.Tensor,
    lengths: torch.Tensor,
    targets: Sequence[Sequence[int]],
) -> torch.Tensor:
    """float32 (tokens, vocabulary), the tokens of all targets in turn, with teacher forcing."""
    frames = _set_frames(model, lengths)
    # transformers takes a mask over samples and reads every HOP-th entry.
    samples = torch.arange(audio.shape[1], device=audio.device)
    mask = samples < ((frames - 1) * HOP + 1)[:, None]
    config = model.config
    inputs, is_target = teacher_forced([config.decoder_start_token_id], targets, config.eos_token_id, audio.device)
    hidden = model.model(input_values=audio, attention_mask=mask, decoder_input_ids=inputs, use_cache=False)
    logits: torch.Tensor = model.proj_out(hidden.last_hidden_state[is_target])
    return logits.float()


_token_loss = TokenLoss(_logits)
loss, log_probabilities = _token_loss.loss, _token_loss.log_probabilities


def padded_logits(
    model: MoonshineForConditionalGeneration, audio: torch.Tensor, lengths: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """float32 (batch, tokens, vocabulary): as `_logits`, but also those of padding (see `families.PaddedFamily`)."""
    frames = _set_frames(model, lengths)
    samples = torch.arange(audio.shape[1], device=audio.device)
    mask = (samples < ((frames - 1) * HOP + 1)[:, None])[:, None, None]
    # transformers uses masks of four dimensions as they are; for others, it asks the GPU whether they mask anything.
    hidden = model.model.encoder(audio, attention_mask=mask).last_hidden_state
    causal = torch.ones(labels.shape[1], labels.shape[1], dtype=torch.bool, device=audio.device).tril()
    decoded = model.model.decoder(
        input_ids=_decoder_inputs(model, labels),
        attention_mask=causal[None, None],
        encoder_hidden_states=hidden,
        encoder_attention_mask=mask[..., ::HOP][..., : hidden.shape[1]],
        use_cache=False,
    )
    logits: torch.Tensor = model.proj_out(decoded.last_hidden_state)
    return logits.float()


def _set_frames(model: MoonshineForConditionalGeneration, lengths: torch.Tensor) -> torch.Tensor:
    """The encoder's frames (batch,) of utterances of these lengths in samples; also tells the group norm its frames."""
    frames = lengths
    for index, (kernel, stride) in enumerate(FRONT_END):
        frames = (frames - kernel) // stride + 1
        if index == 0:
            model.model.encoder.groupnorm.frames = frames
    return frames


def _decoder_inputs(model: MoonshineForConditionalGeneration, labels: torch.Tensor) -> torch.Tensor:
    """The decoder's inputs for (batch, tokens), -1 for padding: the start token, then each label but the last."""
    inputs = torch.full_like(labels, model.config.eos_token_id)
    inputs[:, 0] = model.config.decoder_start_token_id
    inputs[:, 1:] = labels[:, :-1].clamp(min=0)
    return inputs


def reference_outputs(
    model: MoonshineForConditionalGeneration, audio: NDArray[np.float32], tokens: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """The outputs of transformers for audio (batch, samples); see `trainer.autoregressive.graph_outputs`."""
    with torch.no_grad():
        hidden = model.model.encoder(torch.from_numpy(audio)).last_hidden_state
    return graph_outputs(model, hidden, tokens)


def verify_graphs(
    model: MoonshineForConditionalGeneration,
    bundle: Bundle,
    weights: Mapping[str, NDArray[np.float32]],
    recordings: Sequence[Samples] = (),
) -> float:
    """Compares the graphs of a bundle with transformers (see `trainer.graph_parity.verify`)."""
    heads = bundle.config["decoder_num_attention_heads"]
    return verify(
        bundle,
        weights,
        load,
        lambda audio, tokens: reference_outputs(model, audio, tokens),
        lambda audio, max_tokens: generate_tokens(model, audio, max_tokens),
        vocabulary=bundle.config["vocab_size"],
        cache_shape=(heads, bundle.config["hidden_size"] // heads),
        recordings=recordings,
    )


def generate_tokens(model: MoonshineForConditionalGeneration, audio: Samples, max_tokens: int) -> list[int]:
    """The tokens of transformers' greedy decoding: at most `max_tokens`, without special tokens."""
    with torch.no_grad():
        tokens = model.generate(torch.from_numpy(audio)[None], max_new_tokens=max_tokens, do_sample=False)[0]
    special = {model.config.bos_token_id, model.config.eos_token_id}
    return [token for token in tokens.tolist() if token not in special]
