"""Training of autoregressive families: tokens, the decoder's inputs, the loss, and transformers' outputs to compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from editing.errors import BadInputError
from export.bundle import Bundle

# (model, audio, lengths, targets), as for `trainer.families.Family.loss` -> float32 (tokens, vocabulary): the logits of
# the tokens of all targets in turn, with teacher forcing.
Logits = Callable[[Any, torch.Tensor, torch.Tensor, Sequence[Sequence[int]]], torch.Tensor]


class TokenLoss:
    """`loss` and `log_probabilities` of a `trainer.families.Family`, computed from its logits."""

    def __init__(self, logits: Logits) -> None:
        self._logits = logits

    def loss(
        self,
        model: torch.nn.Module,
        audio: torch.Tensor,
        lengths: torch.Tensor,
        targets: Sequence[Sequence[int]],
        augment: bool = False,  # noqa: ARG002
    ) -> tuple[torch.Tensor, int]:
        """Cross-entropy in nats, summed over the batch's tokens, and their number (see `trainer.families.Family`).

        `augment` has no effect: these families are trained on augmented waveforms, and mask no features.
        """
        labels = torch.tensor([token for target in targets for token in target], device=audio.device)
        logits = self._logits(model, audio, lengths, targets)
        return torch.nn.functional.cross_entropy(logits, labels, reduction="sum"), len(labels)

    def log_probabilities(
        self, model: torch.nn.Module, audio: torch.Tensor, lengths: torch.Tensor, targets: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """(tokens, vocabulary), the tokens of all targets in turn (see `trainer.families.Family`)."""
        return torch.log_softmax(self._logits(model, audio, lengths, targets), dim=-1)


def text_tokeniser(bundle: Bundle, end: int, max_tokens: int, prefix: str = "") -> Callable[[str], list[int]]:
    """Returns the function that turns a text into tokens, including the end token.

    That function raises BadInputError for a text of more than `max_tokens` tokens.

    Args:
        bundle: has the tokenizer.
        end: the end token.
        max_tokens: how many tokens the decoder can output, including the end token.
        prefix: is added before the text.

    Raises:
        BundleError: the tokenizer is damaged.
    """
    tokenizer = bundle.tokenizer()

    def tokens(text: str) -> list[int]:
        found = [*tokenizer.encode(prefix + text, add_special_tokens=False).ids, end]
        if len(found) > max_tokens:
            raise BadInputError(f"its text has {len(found)} tokens; the model writes at most {max_tokens}")
        return found

    return tokens


def teacher_forced(
    start: Sequence[int], targets: Sequence[Sequence[int]], padding: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The decoder's inputs for a batch, and where it predicts the targets.

    Args:
        start: the tokens before every target.
        targets: the tokens of each utterance.
        padding: the token after the end of shorter targets.
        device: the device on which the tensors are created.

    Returns:
        inputs (batch, steps), int64: the start and the target without its last token; and is_target (batch, steps),
        bool: whether the output at this step predicts a token of the target.
    """
    longest = max(map(len, targets))
    inputs = torch.full((len(targets), len(start) - 1 + longest), padding, dtype=torch.long)
    is_target = torch.zeros(inputs.shape, dtype=torch.bool)
    for row, target in enumerate(targets):
        tokens = torch.tensor([*start, *target[:-1]])
        inputs[row, : len(tokens)] = tokens
        is_target[row, len(start) - 1 : len(tokens)] = True
    return inputs.to(device), is_target.to(device)


def decoder_logits(model: Any, hidden: torch.Tensor, tokens: NDArray[np.int64]) -> torch.Tensor:
    """The logits (batch, steps, vocabulary) of a model of transformers.

    Args:
        model: in evaluation mode.
        hidden: (batch, frames, size), the encoder's output.
        tokens: (batch, steps), the decoder's inputs.
    """
    decoded = model.model.decoder(
        input_ids=torch.from_numpy(tokens), encoder_hidden_states=hidden, use_cache=False
    ).last_hidden_state
    logits: torch.Tensor = model.proj_out(decoded)
    return logits


def graph_outputs(model: Any, hidden: torch.Tensor, tokens: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """The outputs of a model of transformers under the names of the graphs' outputs (`export.graphs.encoder_decoder`).

    Args:
        model: eager, in evaluation mode.
        hidden: (batch, frames, size), the encoder's output, without gradients.
        tokens: (batch, steps), the decoder's inputs.

    Returns:
        cross_key.N (batch, heads, head_dim, frames) and cross_value.N (batch, heads, frames, head_dim) of every decoder
        layer, and logits (batch, steps, vocabulary).
    """
    with torch.no_grad():
        outputs = {"logits": decoder_logits(model, hidden, tokens)}
        for index, layer in enumerate(model.model.decoder.layers):
            attention = layer.encoder_attn
            split = (hidden.shape[0], hidden.shape[1], -1, attention.head_dim)
            outputs[f"cross_key.{index}"] = attention.k_proj(hidden).view(split).permute(0, 2, 3, 1)
            outputs[f"cross_value.{index}"] = attention.v_proj(hidden).view(split).transpose(1, 2)
    return {name: output.numpy() for name, output in outputs.items()}
