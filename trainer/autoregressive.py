"""The decoder's inputs of autoregressive models in training."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def teacher_forced(
    start: Sequence[int], targets: Sequence[Sequence[int]], padding: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The decoder's inputs for a batch, and where it predicts the targets.

    Args:
        start: the tokens before every target.
        targets: the tokens of each utterance.
        padding: the token after the end of shorter targets.
        device: of the tensors.

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
