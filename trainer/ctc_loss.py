"""The CTC loss that all CTC families share."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def ctc_loss(logits: torch.Tensor, frames: torch.Tensor, targets: Sequence[Sequence[int]]) -> torch.Tensor:
    """The CTC loss, summed over the batch; 0 for an utterance that has fewer frames than its text needs.

    Args:
        logits: (batch, frames, vocabulary), or their log-softmax; the blank is the last token.
        frames: (batch,), the number of frames of each utterance.
        targets: the tokens of each utterance.
    """
    labels = torch.tensor([token for target in targets for token in target], device=logits.device)
    lengths = torch.tensor([len(target) for target in targets], device=logits.device)
    log_probabilities = torch.log_softmax(logits.float(), dim=-1).transpose(0, 1)
    return torch.nn.functional.ctc_loss(
        log_probabilities,
        labels,
        frames,
        lengths,
        blank=logits.shape[-1] - 1,
        reduction="sum",
        zero_infinity=True,
    )
