"""The canary: a little general speech, by which an edit is seen to harm what was not its business.

Each utterance is heard as it was read and again in noise, where a recogniser that has been
damaged stumbles first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from device_app.audio.bundled import cut_out
from device_app.audio.samples import Samples, in_noise
from device_app.paths import ASSETS

FOLDER = ASSETS / "canary"
SNR_DB = 10.0  # of the noisy half


@dataclass(frozen=True)
class Spoken:
    """Audio (samples,) at 16 kHz, and what is said in it, with case and punctuation."""

    audio: Samples
    text: str


@cache
def canary() -> tuple[Spoken, ...]:
    """The utterances, always the same.

    Raises:
        BadAudioError: the installation is damaged.
    """
    random = np.random.default_rng(0)
    clear, noisy = [], []
    for audio, span in cut_out(FOLDER / "canary.jsonl"):
        noise = random.standard_normal(len(audio), np.float32)
        clear.append(Spoken(audio, span["text"]))
        noisy.append(Spoken(in_noise(audio, noise, SNR_DB), span["text"]))
    return (*clear, *noisy)
