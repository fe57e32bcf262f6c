"""Augmentation of recordings: speed, noise, masking and bandwidth. All audio is (samples,) at 16 kHz."""

from __future__ import annotations

import numpy as np
import soxr

from device_app.audio.samples import SAMPLE_RATE, Samples, in_noise

TELEPHONE_HZ = 8000


def augment(audio: Samples, random: np.random.Generator) -> Samples:
    """Varies a training utterance mildly, so that its transcript stays right.

    Speed perturbation by a factor of 0.9 to 1.1 (Ko et al. 2015), white noise 15 to 40 dB below
    the speech, and up to two spans of at most 0.1 s of silence (time masking, as in SpecAugment).
    """
    audio = _change_speed(audio, random.uniform(0.9, 1.1))
    audio = in_noise(audio, _white_noise(audio, random), random.uniform(15, 40))
    for _ in range(random.integers(3)):
        start = random.integers(len(audio))
        audio[start : start + int(random.integers(SAMPLE_RATE // 10))] = 0
    return audio


def augment_strongly(audio: Samples, random: np.random.Generator) -> Samples:
    """Varies a recording as another voice and microphone would, for distillation, which needs no transcript.

    Speed perturbation by up to a quarter, which also raises or lowers the pitch (Ko et al. 2015),
    telephone bandwidth for 3 of 10, white noise 5 to 40 dB below the speech for 7 of 10.
    """
    if random.random() < 0.3:
        audio = soxr.resample(soxr.resample(audio, SAMPLE_RATE, TELEPHONE_HZ), TELEPHONE_HZ, SAMPLE_RATE)
    audio = _change_speed(audio, random.uniform(0.8, 1.25))
    if random.random() < 0.7:
        snr_db = random.uniform(5, 40)
        audio = in_noise(audio, _white_noise(audio, random), snr_db)
    return audio


def _change_speed(audio: Samples, factor: float) -> Samples:
    """Speed and pitch together; a factor above 1 makes the recording shorter."""
    return soxr.resample(audio, SAMPLE_RATE * factor, SAMPLE_RATE).astype(np.float32)


def _white_noise(audio: Samples, random: np.random.Generator) -> Samples:
    """Of unit power, as long as the audio."""
    return random.standard_normal(len(audio), np.float32)
