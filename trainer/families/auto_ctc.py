"""Any CTC model of transformers that takes audio as it is: wav2vec2, HuBERT, WavLM and their kin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCTC

from export.bundle import Bundle
from trainer.ctc_loss import ctc_loss
from trainer.vocabulary import tokens_of

# No masking and no dropout: in training, the model receives each utterance as on the device.
AS_IT_IS: Mapping[str, Any] = {
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "apply_spec_augment": False,
    "layerdrop": 0.0,
}
GUARD = 1e-7  # added to the variance, as transformers' feature extractor does


class AutoCtc(torch.nn.Module):
    """A model of transformers, its tokens in the order that our decoder expects: the blank last.

    Attributes:
        model: of transformers.
        order: (vocabulary,), the model's own number of each of our tokens; its other special
            tokens, which no text has, are left out.
        normalise: whether audio is brought to mean 0 and variance 1.
    """

    order: torch.Tensor

    def __init__(self, model: Any, order: Sequence[int], normalise: bool) -> None:
        super().__init__()
        self.model, self.normalise = model, normalise
        self.register_buffer("order", torch.tensor(order), persistent=False)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """(batch, samples), all of one length -> log-probabilities (batch, frames, vocabulary)."""
        logits = self.model(self.scaled(audio)).logits
        return torch.log_softmax(logits.index_select(2, self.order).float(), dim=-1)

    def scaled(self, audio: torch.Tensor) -> torch.Tensor:
        """Audio as the model was trained to take it."""
        if not self.normalise:
            return audio
        centred = audio - audio.mean(dim=1, keepdim=True)
        return centred / torch.sqrt(centred.square().mean(dim=1, keepdim=True) + GUARD)


def build(config: Mapping[str, Any], attention: str = "eager") -> AutoCtc:
    """A model of this shape with random weights, in evaluation mode.

    Args:
        config: "transformers", a configuration of transformers with its "model_type"; "order" and
            "normalise", as in `AutoCtc`.
        attention: transformers' name of the implementation.
    """
    settings = {**config["transformers"], **AS_IT_IS}
    own = AutoConfig.for_model(settings.pop("model_type"), **settings)
    model = AutoModelForCTC.from_config(own, attn_implementation=attention)
    return AutoCtc(model, config["order"], config["normalise"]).eval()


def prepare(_model: AutoCtc) -> None:
    """Nothing: utterances are computed one by one, because padding changes the output of many of these models."""


def tokenise(bundle: Bundle) -> Callable[[str], list[int]]:
    """Gives the function that turns a text into tokens (see `trainer.vocabulary.tokens_of`)."""
    return tokens_of(bundle)


def loss(
    model: AutoCtc,
    audio: torch.Tensor,
    lengths: torch.Tensor,
    targets: Sequence[Sequence[int]],
    augment: bool = False,
) -> tuple[torch.Tensor, int]:
    """CTC loss, summed over the batch, and the number of tokens (see `trainer.families.Family`)."""
    del augment
    each = _each(model, audio, lengths)
    losses = [
        ctc_loss(one, torch.tensor([one.shape[1]], device=audio.device), [target])
        for one, target in zip(each, targets, strict=True)
    ]
    return torch.stack(losses).sum(), sum(map(len, targets))


def log_probabilities(
    model: AutoCtc, audio: torch.Tensor, lengths: torch.Tensor, _targets: Sequence[Sequence[int]]
) -> torch.Tensor:
    """(frames, vocabulary), of every frame of the batch (see `trainer.families.Family`)."""
    return torch.cat([one[0] for one in _each(model, audio, lengths)])


def features(model: AutoCtc, audio: torch.Tensor) -> torch.Tensor:
    """(frames, size) of one utterance, (1, samples) (see `trainer.families.Family`)."""
    hidden: torch.Tensor = model.model.base_model(model.scaled(audio)).last_hidden_state
    return hidden[0]


def _each(model: AutoCtc, audio: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
    """Log-probabilities (1, frames, vocabulary) of each utterance."""
    return [model(one[None, :length]) for one, length in zip(audio, lengths.tolist(), strict=True)]
