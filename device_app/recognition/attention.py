"""Word times of an attention decoder: its cross-attention says about when, the audio's energy says exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import SAMPLE_RATE, Samples

# Within a word's span, what is this much weaker than its loudest moment (26 dB) is silence.
QUIET = 0.05
ENERGY_FRAME = SAMPLE_RATE // 100  # samples


def word_times(
    names: Sequence[str],
    spans: Sequence[tuple[int, int]],
    attention: NDArray[np.float32],
    audio: Samples,
    hop: int,
) -> list[tuple[float, float]]:
    """When each word begins and ends.

    Args:
        names: of the tokens, as the vocabulary spells them.
        spans: the first token of each word and the one after its last, in order.
        attention: (tokens, frames), the weight each token gave each frame; a last row may be the end token's.
        audio: (samples,) at 16 kHz.
        hop: samples in a frame.

    Returns:
        Seconds from the start of the audio.
    """
    bounds = align(attention).tolist()
    times = []
    previous_end = 0  # the first frame after the previous word's sounds
    for first, last in spans:
        spoken = last  # the frames of a comma or full stop are the pause that follows the word
        while spoken > first + 1 and not any(character.isalnum() for character in names[spoken - 1]):
            spoken -= 1
        start, end = bounds[first] * hop, bounds[spoken] * hop
        if previous_end < bounds[first]:  # after a mark: its pause may have swallowed the word's beginning
            start = after_pause(audio, previous_end * hop, end, start)
        previous_end = bounds[spoken]
        times.append(trim_silence(audio, start, end))
    return times


def align(attention: NDArray[np.float32]) -> NDArray[np.int64]:
    """Which frames belong to which token: the likeliest monotonic split.

    Every token gets a run of at least one frame, in order; the split that maximises the summed
    log-attention is found by dynamic programming, as dynamic time warping does for Whisper's word
    times, with one row of NumPy operations a token.

    Args:
        attention: (tokens, frames), the weight each token gave each frame.

    Returns:
        (tokens + 1,): token i has the frames from entry i up to entry i + 1. Where there are
        more tokens than frames, they share frames evenly.
    """
    tokens, frames = attention.shape
    if tokens > frames:
        return np.linspace(0, frames, tokens + 1).astype(np.int64)
    cost = np.zeros((tokens, frames + 1))
    np.cumsum(-np.log(attention + 1e-6), axis=1, out=cost[:, 1:])
    columns = np.arange(frames + 1)
    best = np.where(columns == 0, 0.0, np.inf)  # cost of having split all frames before a column
    origin = np.zeros((tokens, frames + 1), np.int64)  # where the token that ends there began
    for token in range(tokens):
        begun = best - cost[token]
        lowest = np.minimum.accumulate(begun)
        since = np.maximum.accumulate(np.where(begun <= lowest, columns, 0))
        best = np.concatenate([[np.inf], lowest[:-1] + cost[token, 1:]])
        origin[token, 1:] = since[:-1]
    bounds = np.empty(tokens + 1, np.int64)
    bounds[tokens] = frames
    for token in reversed(range(tokens)):
        bounds[token] = origin[token, bounds[token + 1]]
    return bounds


def trim_silence(audio: Samples, start: int, end: int) -> tuple[float, float]:
    """Takes the silence off both ends of audio[start:end], one word's span; returns seconds.

    By energy and in 10 ms: a voice detector's frames (`audio.vad.speech_span`) are too coarse within a word.
    """
    loud = np.flatnonzero(_is_loud(audio[start:end]))
    if len(loud):
        start, end = start + int(loud[0]) * ENERGY_FRAME, start + int(loud[-1] + 1) * ENERGY_FRAME
    return start / SAMPLE_RATE, min(end, len(audio)) / SAMPLE_RATE


def after_pause(audio: Samples, start: int, end: int, default: int) -> int:
    """Where speech begins again after the longest silence in audio[start:end], as a sample.

    `default` where there is no silence between sounds.
    """
    loud = np.flatnonzero(_is_loud(audio[start:end]))
    gaps = np.diff(loud)
    if not len(gaps) or gaps.max() <= 1:
        return default
    return start + int(loud[1 + gaps.argmax()]) * ENERGY_FRAME


def _is_loud(audio: Samples) -> NDArray[np.bool_]:
    """Whether each 10 ms of the audio is more than silence, against its loudest moment."""
    count = len(audio) // ENERGY_FRAME
    energy = np.square(audio[: count * ENERGY_FRAME].reshape(count, ENERGY_FRAME)).mean(axis=1)
    loud: NDArray[np.bool_] = energy >= energy.max(initial=0) * QUIET**2
    return loud
