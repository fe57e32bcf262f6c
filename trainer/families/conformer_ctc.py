"""A Conformer encoder with a CTC head in torch, transformers' ParakeetForCTC.

The base model of the paper on sequential editing (arXiv 2406.17935) has this architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torchaudio
from transformers import ParakeetCTCConfig, ParakeetForCTC

from export.bundle import Bundle
from trainer.ctc_loss import ctc_loss
from trainer.log_mel import HOP, LogMel
from trainer.vocabulary import ctc_tokeniser

INTERMEDIATE_WEIGHT = 0.3  # of the CTC loss on the encoder's middle layer (Lee & Watanabe 2021, arXiv 2102.03216)

# Masks of SpecAugment (Park et al. 2019), in frames of 10 ms and in mel bins. They mask up to a fifth of
# an utterance of 2 s; wider masks could remove whole words of short utterances.
TIME_MASKS, TIME_WIDTH = 2, 20
BIN_MASKS, BIN_WIDTH = 2, 15

# Both have 12 layers and 8 heads, as in that paper. Dropout and layer drop are off: with transformers' default
# rates, a model trained on a few hundred utterances output only blanks. Augmentation prevents overfitting instead.
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
    """Builds a model with random weights, in evaluation mode; its `front_end` computes the features.

    Args:
        config: "encoder", the settings of transformers' ParakeetEncoderConfig, and "vocab_size",
            which includes the blank, the last token.
        attention: transformers' name of the attention implementation.
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
    """Does nothing: the encoder takes a padding mask (see `trainer.families.Family`)."""


def tokenise(bundle: Bundle) -> Callable[[str], list[int]]:
    """Returns the function that turns a text into tokens (see `trainer.vocabulary.ctc_tokeniser`)."""
    return ctc_tokeniser(bundle)


def loss(
    model: ParakeetForCTC,
    audio: torch.Tensor,
    lengths: torch.Tensor,
    targets: Sequence[Sequence[int]],
    augment: bool = False,
) -> tuple[torch.Tensor, int]:
    """CTC loss, summed over the batch, and the number of tokens (see `trainer.families.Family`).

    In training mode, adds the CTC loss of the middle layer. With `augment`, applies SpecAugment.
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
    """(frames, vocabulary), the frames of all utterances in turn (see `trainer.families.Family`)."""
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
    """Features (batch, frames, bins), in float32 even under autocast, and the mask of frames that are not padding."""
    with torch.autocast(audio.device.type, enabled=False):
        features = model.front_end(audio, lengths)
    frames = torch.arange(features.shape[1], device=audio.device)
    return features, (frames < (lengths // HOP)[:, None]).long()


def spec_augmented(features: torch.Tensor) -> torch.Tensor:
    """Applies SpecAugment without time warping to (batch, frames, bins); masked values become 0, the mean."""
    augment = torchaudio.transforms.SpecAugment(TIME_MASKS, TIME_WIDTH, BIN_MASKS, BIN_WIDTH, zero_masking=True)
    augmented: torch.Tensor = augment(features.transpose(1, 2)[:, None])
    return augmented[:, 0].transpose(1, 2)
