"""The canary: a little general speech, by which an edit is seen to harm what was not its business.

Each utterance is heard as it was read and again in noise, where a recogniser that has been
damaged stumbles first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

import numpy as np

from device_app.audio import SAMPLE_RATE, Samples, read
from device_app.models import ASSETS

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
    for line in (FOLDER / "canary.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        audio = read(FOLDER / entry["audio"])
        audio = audio[round(entry["start_s"] * SAMPLE_RATE) : round(entry["end_s"] * SAMPLE_RATE)]
        level = float(np.sqrt(np.mean(np.square(audio)))) * 10 ** (-SNR_DB / 20)
        noise = random.standard_normal(len(audio), np.float32) * np.float32(level)
        clear.append(Spoken(audio, entry["text"]))
        noisy.append(Spoken(audio + noise, entry["text"]))
    return (*clear, *noisy)
