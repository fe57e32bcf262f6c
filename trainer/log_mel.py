"""NeMo's log-mel features as a torch module that becomes part of the ONNX graph.

The spectrum is a convolution with the Fourier basis, which every ONNX runtime supports at any length.
The features equal those of NeMo's AudioToMelSpectrogramPreprocessor without dither. onnx-asr and
sherpa-onnx compute the same features for "nemo" models, so they can run the same network.
"""

from __future__ import annotations

import math

import torch
import torchaudio

from device_app.audio.samples import SAMPLE_RATE

PREEMPHASIS = 0.97
FFT = 512  # samples, as the next two
WINDOW = 400
HOP = 160
LOG_FLOOR = 2.0**-24  # added before the logarithm
EPSILON = 1e-5  # added to the standard deviation, as in NeMo


def fourier_basis(window: torch.Tensor) -> torch.Tensor:
    """The windowed Fourier basis for `power_spectrum`: its real parts, then its imaginary parts.

    Args:
        window: (size,).

    Returns:
        (2 * (size // 2 + 1), 1, size).
    """
    size = len(window)
    angles = torch.outer(torch.arange(size // 2 + 1), torch.arange(size)).double() * (2 * math.pi / size)
    return (torch.cat([angles.cos(), -angles.sin()]).float() * window)[:, None]


def mel_filters(size: int, bins: int) -> torch.Tensor:
    """Mel filters with Slaney's scale and norm, for a convolution over a power spectrum.

    Args:
        size: samples of the FFT.
        bins: number of filters.

    Returns:
        (bins, size // 2 + 1, 1).
    """
    filters = torchaudio.functional.melscale_fbanks(
        size // 2 + 1, 0.0, SAMPLE_RATE / 2, bins, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
    return filters.T[:, :, None].contiguous()


def power_spectrum(audio: torch.Tensor, basis: torch.Tensor, hop: int) -> torch.Tensor:
    """Padded audio (batch, samples) -> (batch, frequencies, frames)."""
    spectrum = torch.nn.functional.conv1d(audio[:, None], basis, stride=hop)
    half = basis.shape[0] // 2
    return spectrum[:, :half].square() + spectrum[:, half:].square()


class LogMel(torch.nn.Module):
    """16 kHz audio to log-mel features, a frame per 10 ms; each bin has mean 0 and variance 1 over the utterance."""

    basis: torch.Tensor
    mel: torch.Tensor

    def __init__(self, bins: int = 80) -> None:
        super().__init__()
        side = (FFT - WINDOW) // 2
        window = torch.nn.functional.pad(torch.hann_window(WINDOW, periodic=False), (side, side))
        # Constants, not weights: computed at construction, neither stored nor merged.
        self.register_buffer("basis", fourier_basis(window), persistent=False)
        self.register_buffer("mel", mel_filters(FFT, bins), persistent=False)

    def forward(self, audio: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Computes the features of a batch.

        Args:
            audio: (batch, samples).
            lengths: (batch,), the samples of each utterance; None if no utterance is padded.

        Returns:
            (batch, samples // 160, bins). An utterance fills its first length // 160 frames; the
            rest are zeros.
        """
        emphasised = torch.cat([audio[:, :1], audio[:, 1:] - PREEMPHASIS * audio[:, :-1]], dim=1)
        if lengths is not None:
            emphasised = emphasised * (torch.arange(audio.shape[1], device=audio.device) < lengths[:, None])
        power = power_spectrum(torch.nn.functional.pad(emphasised, (FFT // 2, FFT // 2)), self.basis, HOP)
        logarithm = torch.log(torch.nn.functional.conv1d(power, self.mel) + LOG_FLOOR).transpose(1, 2)[:, :-1]
        if lengths is None:
            mean = logarithm.mean(dim=1, keepdim=True)
            centred = logarithm - mean
            variance = centred.square().sum(dim=1, keepdim=True) / max(1, logarithm.shape[1] - 1)
            return centred / (variance.sqrt() + EPSILON)
        frames = (lengths // HOP)[:, None, None]
        is_own_frame = torch.arange(logarithm.shape[1], device=audio.device)[None, :, None] < frames
        mean = torch.where(is_own_frame, logarithm, 0).sum(dim=1, keepdim=True) / frames
        centred = torch.where(is_own_frame, logarithm - mean, 0)
        variance = centred.square().sum(dim=1, keepdim=True) / (frames - 1).clamp(min=1)
        return centred / (variance.sqrt() + EPSILON)
