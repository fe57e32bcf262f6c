"""The guard set: a little general speech, by which the gate sees that an edit does harm outside its domain.

It holds each utterance as it was read and again in noise, where a damaged recogniser fails first.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from device_app.audio.bundled import cut_out
from device_app.audio.samples import in_noise
from device_app.data.names import GUARD_SET
from device_app.data.utterance import Utterance
from device_app.paths import ASSETS

FOLDER = ASSETS / "guard_set"
SNR_DB = 10.0  # of the noisy half


@cache
def guard_set() -> tuple[Utterance, ...]:
    """The utterances, always the same, with case and punctuation in their texts.

    Raises:
        BadAudioError: the installation is damaged.
    """
    random = np.random.default_rng(0)
    clear, noisy = [], []
    for audio, span in cut_out(FOLDER / "guard_set.jsonl"):
        noise = random.standard_normal(len(audio), np.float32)
        clear.append(Utterance(samples=audio, text=span["text"], domain=GUARD_SET, split="test"))
        noisy.append(replace(clear[-1], samples=in_noise(audio, noise, SNR_DB)))
    return (*clear, *noisy)
