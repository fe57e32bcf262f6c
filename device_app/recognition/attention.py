"""Word times of an attention decoder: approximate from its cross-attention, exact from the energy of the audio."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import SAMPLE_RATE, Samples

# Frames of a word whose amplitude is below this fraction (-26 dB) of the word's loudest frame are silence.
SILENCE_RATIO = 0.05
ENERGY_FRAME = SAMPLE_RATE // 100  # samples


def word_times(
    names: Sequence[str],
    spans: Sequence[tuple[int, int]],
    attention: NDArray[np.float32],
    audio: Samples,
    hop: int,
) -> list[tuple[float, float]]:
    """Finds the start and end of each word.

    Args:
        names: the tokens as the vocabulary spells them.
        spans: for each word in order, the index of its first token and of the token after its last.
        attention: (tokens, frames), the weights of each token; the last row may be that of the end token.
        audio: (samples,) at 16 kHz.
        hop: samples of audio per frame of `attention`.

    Returns:
        The start and end of each word, in seconds from the start of the audio.
    """
    bounds = align(attention).tolist()
    times = []
    previous_end = 0  # the first frame after the previous word, not counting its punctuation
    for first, end_of_span in spans:
        end_of_letters = end_of_span  # without punctuation, whose frames are the pause after the word
        while end_of_letters > first + 1 and not any(character.isalnum() for character in names[end_of_letters - 1]):
            end_of_letters -= 1
        start, end = bounds[first] * hop, bounds[end_of_letters] * hop
        if previous_end < bounds[first]:  # frames of punctuation precede; they may include the start of this word
            start = after_pause(audio, previous_end * hop, end, start)
        previous_end = bounds[end_of_letters]
        times.append(trim_silence(audio, start, end))
    return times


def align(attention: NDArray[np.float32]) -> NDArray[np.int64]:
    """Assigns frames to tokens by the most likely monotonic alignment.

    Every token has at least one frame, in order. Dynamic programming finds the alignment with the largest
    sum of log-attention, as dynamic time warping does for Whisper's word times. NumPy
    processes all frames of a token at once.

    Args:
        attention: (tokens, frames), the weights of each token.

    Returns:
        (tokens + 1,): token i has the frames from entry i up to entry i + 1. If there are more tokens
        than frames, the tokens share the frames evenly.
    """
    tokens, frames = attention.shape
    if tokens > frames:
        return np.linspace(0, frames, tokens + 1).astype(np.int64)
    cost = np.zeros((tokens, frames + 1))  # of giving a token all frames before a column
    np.cumsum(-np.log(attention + 1e-6), axis=1, out=cost[:, 1:])  # 1e-6: attention may be 0, whose log is not finite
    columns = np.arange(frames + 1)
    best = np.where(columns == 0, 0.0, np.inf)  # cost of the best alignment of all frames before a column
    origin = np.zeros((tokens, frames + 1), np.int64)  # the first frame of the token if it ends before a column
    for token in range(tokens):
        # The frames from column i to column j cost cost[j] - cost[i], so the best i for any j has the lowest `begun`.
        begun = best - cost[token]
        lowest = np.minimum.accumulate(begun)
        first = np.maximum.accumulate(np.where(begun <= lowest, columns, 0))
        best = np.concatenate([[np.inf], lowest[:-1] + cost[token, 1:]])
        origin[token, 1:] = first[:-1]
    bounds = np.empty(tokens + 1, np.int64)
    bounds[tokens] = frames
    for token in reversed(range(tokens)):
        bounds[token] = origin[token, bounds[token + 1]]
    return bounds


def trim_silence(audio: Samples, start: int, end: int) -> tuple[float, float]:
    """Removes silence from both ends of the span of a word.

    Measures energy in frames of 10 ms, because the frames of a voice activity detector are too coarse here.

    Args:
        audio: (samples,) at 16 kHz.
        start, end: the span, as sample indices.

    Returns:
        Start and end of the sound in the span, in seconds from the start of the audio.
    """
    loud = np.flatnonzero(_is_loud(audio[start:end]))
    if len(loud):
        start, end = start + int(loud[0]) * ENERGY_FRAME, start + int(loud[-1] + 1) * ENERGY_FRAME
    return start / SAMPLE_RATE, min(end, len(audio)) / SAMPLE_RATE


def after_pause(audio: Samples, start: int, end: int, default: int) -> int:
    """Finds where speech resumes after the longest silence of a span.

    Args:
        audio: (samples,) at 16 kHz.
        start, end: the span, as sample indices.
        default: the result if there is no silence between two sounds.

    Returns:
        A sample index.
    """
    loud = np.flatnonzero(_is_loud(audio[start:end]))
    gaps = np.diff(loud)
    if not len(gaps) or gaps.max() <= 1:
        return default
    return start + int(loud[1 + gaps.argmax()]) * ENERGY_FRAME


def _is_loud(audio: Samples) -> NDArray[np.bool_]:
    """Whether each frame of 10 ms is louder than silence, relative to the loudest frame."""
    count = len(audio) // ENERGY_FRAME
    energy = np.square(audio[: count * ENERGY_FRAME].reshape(count, ENERGY_FRAME)).mean(axis=1)
    loud: NDArray[np.bool_] = energy >= energy.max(initial=0) * SILENCE_RATIO**2
    return loud
