"""Augmentation of recordings: speed, noise and masking. All audio is (samples,) at 16 kHz."""

from __future__ import annotations

import numpy as np
import soxr

from device_app.audio.samples import SAMPLE_RATE, Samples, add_noise


def augment(audio: Samples, random: np.random.Generator) -> Samples:
    """Augments a training utterance mildly, so that its transcript stays correct.

    Speed perturbation by a factor of 0.9 to 1.1 (Ko et al. 2015), white noise 15 to 40 dB below
    the speech, and up to two spans of at most 0.1 s of silence (time masking, as in SpecAugment).
    """
    audio = _change_speed(audio, random.uniform(0.9, 1.1))
    audio = add_noise(audio, _white_noise(audio, random), random.uniform(15, 40))
    for _ in range(random.integers(3)):
        start = random.integers(len(audio))
        audio[start : start + int(random.integers(SAMPLE_RATE // 10))] = 0
    return audio


def _change_speed(audio: Samples, factor: float) -> Samples:
    """Changes speed and pitch together; a factor above 1 shortens the recording."""
    return soxr.resample(audio, SAMPLE_RATE * factor, SAMPLE_RATE).astype(np.float32)


def _white_noise(audio: Samples, random: np.random.Generator) -> Samples:
    """White noise of unit power, as long as the audio."""
    return random.standard_normal(len(audio), np.float32)
