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
FFT = 512  # samples
WINDOW = 400
HOP = 160
LOG_FLOOR = 2.0**-24  # added before the logarithm
EPSILON = 1e-5


class LogMel(torch.nn.Module):
    """16 kHz audio to log-mel features, a frame per 10 ms; each bin has mean 0 and variance 1 over the utterance."""

    basis: torch.Tensor
    mel: torch.Tensor

    def __init__(self, bins: int = 80) -> None:
        super().__init__()
        frequencies = FFT // 2 + 1
        side = (FFT - WINDOW) // 2
        window = torch.nn.functional.pad(torch.hann_window(WINDOW, periodic=False), (side, side))
        angles = torch.outer(torch.arange(frequencies), torch.arange(FFT)).double() * (2 * math.pi / FFT)
        basis = torch.cat([angles.cos(), -angles.sin()]).float() * window
        mel = torchaudio.functional.melscale_fbanks(
            frequencies, 0.0, SAMPLE_RATE / 2, bins, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        )
        # Constants, not weights: computed at construction, neither stored nor merged.
        self.register_buffer("basis", basis[:, None], persistent=False)
        self.register_buffer("mel", mel.T[:, :, None].contiguous(), persistent=False)

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
        spectrum = torch.nn.functional.conv1d(emphasised[:, None], self.basis, stride=HOP, padding=FFT // 2)
        half = self.basis.shape[0] // 2
        power = spectrum[:, :half].square() + spectrum[:, half:].square()
        logarithm = torch.log(torch.nn.functional.conv1d(power, self.mel) + LOG_FLOOR).transpose(1, 2)[:, :-1]
        if lengths is None:
            mean = logarithm.mean(dim=1, keepdim=True)
            centred = logarithm - mean
            variance = centred.square().sum(dim=1, keepdim=True) / max(1, logarithm.shape[1] - 1)
            return centred / (variance.sqrt() + EPSILON)
        frames = (lengths // HOP)[:, None, None]
        own = torch.arange(logarithm.shape[1], device=audio.device)[None, :, None] < frames
        mean = torch.where(own, logarithm, 0).sum(dim=1, keepdim=True) / frames
        centred = torch.where(own, logarithm - mean, 0)
        variance = centred.square().sum(dim=1, keepdim=True) / (frames - 1).clamp(min=1)
        return centred / (variance.sqrt() + EPSILON)
