"""Recognises again, in two parts, a segment whose autoregressive decoding does not end by itself.

An autoregressive decoder may repeat a phrase without end (`recognition.decoder_search` stops it) or reach its maximal
number of tokens. The rest of the segment would be lost. Any family with such a decoder can use this module.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.audio.vad import FRAME, best_pause
from device_app.recognition.decoder_search import Hypothesis
from device_app.recognition.results import Recognition

MIN_PART_S = 1.0  # mean duration of the two parts of a split; shorter audio is not split


def recognise_in_parts(
    audio: Samples,
    decode: Callable[[Samples], Hypothesis],
    to_recognition: Callable[[Hypothesis, Samples], Recognition],
    min_log_probability: float,
) -> Recognition:
    """Recognises a segment; splits it at its quietest point, repeatedly, while a decoding does not end.

    Args:
        audio: (samples,) at 16 kHz.
        decode: finds the best hypothesis for a part of the audio.
        to_recognition: converts a hypothesis for a part to words with times in that part.
        min_log_probability: a hypothesis with a lower mean log-probability per decoder step (nats) is dropped.

    Returns:
        The words of all parts, with times from the start of `audio`; empty for parts whose hypothesis is dropped.
    """
    hypothesis = decode(audio)
    if hypothesis.normalised(1.0) < min_log_probability:
        return Recognition("", [])
    if hypothesis.is_complete or len(audio) < 2 * MIN_PART_S * SAMPLE_RATE:
        return to_recognition(hypothesis, audio)
    middle = quietest_middle(audio)
    first, second = (
        recognise_in_parts(part, decode, to_recognition, min_log_probability)
        for part in (audio[:middle], audio[middle:])
    )
    return first.followed_by(second, middle / SAMPLE_RATE)


def quietest_middle(audio: Samples) -> int:
    """Where to split audio (samples,): the centre of the quietest 0.1 s of its middle half, as a sample index."""
    count = len(audio) // FRAME
    frames = audio[: count * FRAME].reshape(count, FRAME)
    quarter = count // 4
    middle = frames[quarter : count - quarter]
    all_speech = np.ones(len(middle))  # so that `best_pause` compares the energy of the frames only
    return (quarter + best_pause(all_speech, middle)) * FRAME
