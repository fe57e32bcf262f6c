"""Any CTC model of transformers whose input is the raw waveform, such as wav2vec2, HuBERT and WavLM."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCTC

from export.bundle import Bundle
from trainer.ctc_loss import ctc_loss
from trainer.vocabulary import ctc_tokeniser

# No masking and no layer drop: in training, the model receives each utterance as on the device.
WITHOUT_MASKING: Mapping[str, Any] = {
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "apply_spec_augment": False,
    "layerdrop": 0.0,
}
VARIANCE_FLOOR = 1e-7  # added to the variance, as transformers' feature extractor does


class AutoCtc(torch.nn.Module):
    """A model of transformers with its tokens reordered as our decoder expects, the blank last.

    Attributes:
        model: the model of transformers.
        order: (vocabulary,), for each of our tokens, its number in `model`. Other special tokens of
            `model` are left out, because no text contains them.
        normalise: whether audio is scaled to mean 0 and variance 1.
    """

    order: torch.Tensor

    def __init__(self, model: Any, order: Sequence[int], normalise: bool) -> None:
        super().__init__()
        self.model, self.normalise = model, normalise
        self.register_buffer("order", torch.tensor(order), persistent=False)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """(batch, samples) without padding -> log-probabilities (batch, frames, vocabulary)."""
        logits = self.model(self.normalised(audio)).logits
        return torch.log_softmax(logits.index_select(2, self.order).float(), dim=-1)

    def normalised(self, audio: torch.Tensor) -> torch.Tensor:
        """Audio (batch, samples) scaled as in the model's pre-training."""
        if not self.normalise:
            return audio
        centred = audio - audio.mean(dim=1, keepdim=True)
        return centred / torch.sqrt(centred.square().mean(dim=1, keepdim=True) + VARIANCE_FLOOR)


def build(config: Mapping[str, Any], attention: str = "eager") -> AutoCtc:
    """Builds a model with random weights, in evaluation mode.

    Args:
        config: "transformers", a configuration of transformers with its "model_type"; "order" and
            "normalise", as in `AutoCtc`.
        attention: transformers' name of the attention implementation.
    """
    fields = {**config["transformers"], **WITHOUT_MASKING}
    settings = AutoConfig.for_model(fields.pop("model_type"), **fields)
    model = AutoModelForCTC.from_config(settings, attn_implementation=attention)
    return AutoCtc(model, config["order"], config["normalise"]).eval()


def prepare(_model: AutoCtc) -> None:
    """Does nothing. Utterances run one by one, because padding changes the output of many of these models."""


def tokenise(bundle: Bundle) -> Callable[[str], list[int]]:
    """Returns the function that turns a text into tokens (see `trainer.vocabulary.ctc_tokeniser`)."""
    return ctc_tokeniser(bundle)


def loss(
    model: AutoCtc,
    audio: torch.Tensor,
    lengths: torch.Tensor,
    targets: Sequence[Sequence[int]],
    augment: bool = False,
) -> tuple[torch.Tensor, int]:
    """CTC loss, summed over the batch, and the number of tokens (see `trainer.families.Family`)."""
    del augment
    outputs = _per_utterance(model, audio, lengths)
    losses = [
        ctc_loss(one, torch.tensor([one.shape[1]], device=audio.device), [target])
        for one, target in zip(outputs, targets, strict=True)
    ]
    return torch.stack(losses).sum(), sum(map(len, targets))


def log_probabilities(
    model: AutoCtc, audio: torch.Tensor, lengths: torch.Tensor, _targets: Sequence[Sequence[int]]
) -> torch.Tensor:
    """(frames, vocabulary), the frames of all utterances in turn (see `trainer.families.Family`)."""
    return torch.cat([one[0] for one in _per_utterance(model, audio, lengths)])


def features(model: AutoCtc, audio: torch.Tensor) -> torch.Tensor:
    """(frames, size) of one utterance, (1, samples) (see `trainer.families.Family`)."""
    hidden: torch.Tensor = model.model.base_model(model.normalised(audio)).last_hidden_state
    return hidden[0]


def _per_utterance(model: AutoCtc, audio: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
    """Runs the model on each utterance alone: log-probabilities (1, frames, vocabulary)."""
    return [model(one[None, :length]) for one, length in zip(audio, lengths.tolist(), strict=True)]
