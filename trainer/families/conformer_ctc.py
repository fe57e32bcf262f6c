"""The paper's base in torch: a Conformer encoder with a CTC head, transformers' ParakeetForCTC."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torchaudio
from transformers import ParakeetCTCConfig, ParakeetForCTC

from export.bundle import Bundle
from trainer.ctc_loss import ctc_loss
from trainer.log_mel import HOP, LogMel
from trainer.vocabulary import tokens_of

INTERMEDIATE_WEIGHT = 0.3  # of the loss half-way up the encoder (Lee & Watanabe 2021, arXiv 2102.03216)

# Masks of SpecAugment (Park et al. 2019), in frames of 10 ms and mel bins. Up to a fifth of an
# utterance of 2 s, as short ones have no words to spare.
TIME_MASKS, TIME_WIDTH = 2, 20
BIN_MASKS, BIN_WIDTH = 2, 15

# Both have 12 layers and 8 heads, as the paper's. There is no dropout and no layer drop: with transformers'
# own four dropouts and its layer drop, a model trained on a few hundred utterances wrote nothing but blanks, and
# augmented speech keeps it from overfitting.
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    name: {
        "hidden_size": size,
        "intermediate_size": 4 * size,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "conv_kernel_size": 31,
        "subsampling_factor": 4,
        "subsampling_conv_channels": channels,
        "num_mel_bins": 80,
        "scale_input": False,
        "layerdrop": 0.0,
        "dropout": 0.0,
        "activation_dropout": 0.0,
        "attention_dropout": 0.0,
    }
    for name, size, channels in (("paper", 256, 256), ("small", 144, 96))
}


def build(config: Mapping[str, Any], attention: str = "eager") -> ParakeetForCTC:
    """A model of this shape with random weights, in evaluation mode; audio enters by its `front_end`.

    Args:
        config: "encoder", settings of transformers' ParakeetEncoderConfig, and "vocab_size",
            the blank, which is the last, included.
        attention: transformers' name of the implementation.
    """
    vocabulary = int(config["vocab_size"])
    settings = ParakeetCTCConfig(
        vocab_size=vocabulary, pad_token_id=vocabulary - 1, encoder_config=dict(config["encoder"])
    )
    settings._attn_implementation = settings.encoder_config._attn_implementation = attention
    model = ParakeetForCTC(settings)
    model.front_end = LogMel(settings.encoder_config.num_mel_bins)
    return model.eval()


def prepare(_model: ParakeetForCTC) -> None:
    """Nothing: the encoder takes a mask."""


def tokenise(bundle: Bundle) -> Callable[[str], list[int]]:
    """Gives the function that turns a text into tokens (see `trainer.vocabulary.tokens_of`)."""
    return tokens_of(bundle)


def loss(
    model: ParakeetForCTC,
    audio: torch.Tensor,
    lengths: torch.Tensor,
    targets: Sequence[Sequence[int]],
    augment: bool = False,
) -> tuple[torch.Tensor, int]:
    """CTC loss, summed over the batch, and the number of tokens (see `trainer.families.Family`).

    In training mode with the same loss on the middle layer; SpecAugment where it is to augment.
    """
    features, mask = masked_features(model, audio, lengths)
    if augment:
        features = spec_augmented(features)
    output = model.encoder(features, attention_mask=mask, output_hidden_states=model.training)
    frames = output.attention_mask.sum(dim=1)
    final = ctc_loss(model.ctc_head(output.last_hidden_state), frames, targets)
    count = sum(map(len, targets))
    if not model.training:
        return final, count
    middle = output.hidden_states[len(output.hidden_states) // 2]
    early = ctc_loss(model.ctc_head(middle), frames, targets)
    return (1 - INTERMEDIATE_WEIGHT) * final + INTERMEDIATE_WEIGHT * early, count


def log_probabilities(
    model: ParakeetForCTC, audio: torch.Tensor, lengths: torch.Tensor, _targets: Sequence[Sequence[int]]
) -> torch.Tensor:
    """(frames, vocabulary), of every frame of the batch (see `trainer.families.Family`)."""
    features, mask = masked_features(model, audio, lengths)
    output = model.encoder(features, attention_mask=mask)
    return torch.log_softmax(model.ctc_head(output.last_hidden_state)[output.attention_mask > 0].float(), dim=-1)


def features(model: ParakeetForCTC, audio: torch.Tensor) -> torch.Tensor:
    """(frames, size) of one utterance, (1, samples) (see `trainer.families.Family`)."""
    hidden: torch.Tensor = model.encoder(model.front_end(audio)).last_hidden_state
    return hidden[0]


def masked_features(
    model: ParakeetForCTC, audio: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (batch, frames, bins), in float32 whatever the rest is in, and which frames are an utterance's own."""
    with torch.autocast(audio.device.type, enabled=False):
        features = model.front_end(audio, lengths)
    frames = torch.arange(features.shape[1], device=audio.device)
    return features, (frames < (lengths // HOP)[:, None]).long()


def spec_augmented(features: torch.Tensor) -> torch.Tensor:
    """SpecAugment without warping; what is masked becomes the mean, 0."""
    augment = torchaudio.transforms.SpecAugment(TIME_MASKS, TIME_WIDTH, BIN_MASKS, BIN_WIDTH, zero_masking=True)
    augmented: torch.Tensor = augment(features.transpose(1, 2)[:, None])
    return augmented[:, 0].transpose(1, 2)
