"""The guard set: bundled general speech on which the gate detects regressions outside the domain of an edit.

It has each utterance twice, clean and in noise, because a damaged recogniser fails in noise first.
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
SNR_DB = 10.0  # of the noisy copies


@cache
def guard_set() -> tuple[Utterance, ...]:
    """The utterances of the guard set, always the same; their transcripts have case and punctuation.

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
