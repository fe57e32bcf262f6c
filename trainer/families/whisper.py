"""Whisper in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    GenerationConfig,
    GenerationMixin,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.recognition.families.whisper import FRAME, HOP, TEXT_PREFIX, load
from export.bundle import Bundle
from trainer.autoregressive import TokenLoss, graph_outputs, teacher_forced, text_tokeniser
from trainer.graph_parity import verify
from trainer.log_mel import fourier_basis, mel_filters, power_spectrum

FFT = 400  # samples; also the length of the window
FLOOR = 1e-10  # of the mel power, before the logarithm
RANGE = 8.0  # of the log-mel power below the loudest value, in powers of ten


class WhisperLogMel(torch.nn.Module):
    """The features of transformers' WhisperFeatureExtractor: audio of the model's length -> (batch, bins, frames).

    Attributes:
        samples: the length of the audio; shorter audio is padded with silence.
    """

    basis: torch.Tensor
    mel: torch.Tensor

    def __init__(self, bins: int, samples: int) -> None:
        super().__init__()
        self.samples = samples
        # Constants, not weights: computed at construction, neither stored nor merged.
        self.register_buffer("basis", fourier_basis(torch.hann_window(FFT)), persistent=False)
        self.register_buffer("mel", mel_filters(FFT, bins), persistent=False)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, bins, samples / 160)."""
        padded = torch.nn.functional.pad(audio[:, None], (FFT // 2, FFT // 2), mode="reflect")[:, 0]
        power = power_spectrum(padded, self.basis, HOP)[..., :-1]
        logarithm = torch.log10(torch.nn.functional.conv1d(power, self.mel).clamp(min=FLOOR))
        loudest = logarithm.amax(dim=(1, 2), keepdim=True)
        return (torch.maximum(logarithm, loudest - RANGE) + 4.0) / 4.0


def build(config: Mapping[str, Any], attention: str = "eager") -> WhisperForConditionalGeneration:
    """Builds a model with random weights, in evaluation mode; its `front_end` computes the features.

    Args:
        config: "transformers", the settings of transformers' WhisperConfig, and "start", the tokens before every text.
        attention: transformers' name of the attention implementation.
    """
    model = WhisperForConditionalGeneration(WhisperConfig(**config["transformers"], attn_implementation=attention))
    model.front_end = WhisperLogMel(model.config.num_mel_bins, FRAME * model.config.max_source_positions)
    model.start = list(config["start"])
    return model.eval()


def prepare(_model: WhisperForConditionalGeneration) -> None:
    """Does nothing: all audio is padded to the same length, as the model was trained."""


def tokenise(bundle: Bundle) -> Callable[[str], list[int]]:
    """Returns the function that turns a text into tokens (see `trainer.autoregressive.text_tokeniser`)."""
    settings = bundle.config["transformers"]
    max_tokens = settings["max_target_positions"] - len(bundle.config["start"]) + 1
    return text_tokeniser(bundle, settings["eos_token_id"], max_tokens, TEXT_PREFIX)


def features(model: WhisperForConditionalGeneration, audio: torch.Tensor) -> torch.Tensor:
    """(frames, size) of one utterance, (1, samples), without the padding (see `trainer.families.Family`)."""
    return _encode(model, audio)[0, : -(-audio.shape[1] // FRAME)]


def _encode(model: WhisperForConditionalGeneration, audio: torch.Tensor) -> torch.Tensor:
    """The encoder's output (batch, frames, size) of audio (batch, samples), padded to the model's length."""
    samples = model.front_end.samples
    with torch.autocast(audio.device.type, enabled=False):
        padded = torch.nn.functional.pad(audio[:, :samples].float(), (0, max(0, samples - audio.shape[1])))
        spectrum = model.front_end(padded)
    hidden: torch.Tensor = model.model.encoder(spectrum).last_hidden_state
    return hidden


def _logits(
    model: WhisperForConditionalGeneration,
    audio: torch.Tensor,
    _lengths: torch.Tensor,
    targets: Sequence[Sequence[int]],
) -> torch.Tensor:
    """float32 (tokens, vocabulary), the tokens of all targets in turn, with teacher forcing."""
    inputs, is_target = teacher_forced(model.start, targets, model.config.eos_token_id, audio.device)
    hidden = model.model.decoder(
        input_ids=inputs, encoder_hidden_states=_encode(model, audio), use_cache=False
    ).last_hidden_state
    logits: torch.Tensor = model.proj_out(hidden[is_target])
    return logits.float()


_token_loss = TokenLoss(_logits)
loss, log_probabilities = _token_loss.loss, _token_loss.log_probabilities


def reference_outputs(
    model: WhisperForConditionalGeneration, audio: NDArray[np.float32], tokens: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """The outputs of transformers for audio (batch, samples); see `trainer.autoregressive.graph_outputs`."""
    with torch.no_grad():
        hidden = _encode(model, torch.from_numpy(audio))
    return graph_outputs(model, hidden, tokens)


def verify_graphs(
    model: WhisperForConditionalGeneration,
    bundle: Bundle,
    weights: Mapping[str, NDArray[np.float32]],
    recordings: Sequence[Samples] = (),
) -> float:
    """Compares the graphs of a bundle with transformers (see `trainer.graph_parity.verify`)."""
    settings = bundle.config["transformers"]
    heads = settings["decoder_attention_heads"]
    return verify(
        bundle,
        weights,
        load,
        lambda audio, tokens: reference_outputs(model, audio, tokens),
        lambda audio, max_tokens: generate_tokens(model, bundle, audio, max_tokens),
        vocabulary=settings["vocab_size"],
        cache_shape=(heads, settings["d_model"] // heads),
        samples=model.front_end.samples,
        recordings=recordings,
    )


def generate_tokens(
    model: WhisperForConditionalGeneration, bundle: Bundle, audio: Samples, max_tokens: int
) -> list[int]:
    """The tokens of transformers' greedy decoding: at most `max_tokens`, without special tokens.

    With the features of transformers' own extractor, and with the bundle's start tokens and suppressed ones.
    """
    config, end = bundle.config, model.config.eos_token_id
    extractor = WhisperFeatureExtractor(
        feature_size=model.config.num_mel_bins, chunk_length=model.front_end.samples / SAMPLE_RATE
    )
    extractor.n_samples, extractor.nb_max_frames = model.front_end.samples, model.front_end.samples // HOP
    inputs = extractor(audio, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
    settings = GenerationConfig(
        suppress_tokens=[*config["suppressed"], *range(end + 1, model.config.vocab_size)],
        begin_suppress_tokens=config["suppressed_first"] or None,
        decoder_start_token_id=config["start"][0],
        eos_token_id=end,
        pad_token_id=end,
        max_new_tokens=max_tokens,
        do_sample=False,
        num_beams=1,
    )
    with torch.no_grad():
        # Not Whisper's own generate(), which needs to know the languages, but the one that it calls for each window.
        start = torch.tensor([config["start"]])
        tokens = GenerationMixin.generate(model, inputs, generation_config=settings, decoder_input_ids=start)[0]
    return [token for token in tokens.tolist()[len(config["start"]) :] if token != end]
