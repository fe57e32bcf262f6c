"""What is wrong with a recording, in words: clipped, too quiet, noisy, too short, cut off, not the prompt.

The thresholds were set on the training parts of the development recordings and on made cases
(`benchmarks/quality.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import SAMPLE_RATE, Samples, as_mono, level_dbfs, to_model_rate
from device_app.audio.vad import FRAME, FRAME_S, OFFSET, ONSET, VoiceActivity, VoiceState
from device_app.evaluation.error_rates import basic

MARGIN_S = 0.3  # of silence kept before and after speech

CLIPPED_SHARE = 0.0004  # unclipped speech has 0.0001 of its samples that near to the peak
FLAT = 0.001  # how near to the peak is flat
QUIETEST_PEAK = 0.01  # below this, rounding alone makes samples equal
QUIET_DBFS = -40.0
NOISY_DB = 13.0  # between read speech without pauses (14 at least) and 5 dB above babble (12 at most)
QUIETEST = 20  # per cent of the time is noise, even where nobody pauses
SHORTEST_SPEECH_S = 0.3
FASTEST_SPEECH = 30.0  # characters in a second; fast talkers reach 20
START_S = 0.25  # the voice detector needs a moment to hear that speech is going on
END_S = 0.1
CUT_DB = 15.0  # this far below the level of speech, a word has faded out
ABOVE_NOISE_DB = 10.0  # nearer to the quietest tenth, an end is noise and not a word
LEAST_LIKENESS = 0.5


@dataclass(frozen=True)
class Quality:
    """Figures of one take.

    Attributes:
        clipped: share of the samples that lie flat at the top, as where the level was too high.
        level_dbfs: loudness of the speech in it, dB below full scale.
        snr_db: speech to noise, in dB.
        speech_s: seconds from the first to the last sound of speech; 0 where there is none.
        cut_start, cut_end: speech was going on where the audio begins or ends.
    """

    clipped: float
    level_dbfs: float
    snr_db: float
    speech_s: float
    cut_start: bool
    cut_end: bool


def measure(take: NDArray[np.generic], sample_rate: float, voice: VoiceActivity) -> tuple[Samples, Quality]:
    """Trims a take to its speech, and measures it.

    By single frames' probabilities, which the figures need anyway: `audio.vad.speech_span` would drop a word too
    short to be a segment, and rounds its margins to frames.

    Args:
        take: (samples,) as the device gave them: after resampling, flat tops would be round.
        sample_rate: in Hz.
        voice: finds the speech.

    Returns:
        The speech with 0.3 s around it, (samples,) at 16 kHz, and its figures. Where there is no
        speech, nothing is trimmed.

    Raises:
        BadAudioError: it is not audio, or shorter than 0.1 s.
    """
    raw = as_mono(take)
    audio = to_model_rate(raw, sample_rate)
    count = max(1, len(audio) // FRAME)
    frames = np.resize(audio, count * FRAME).reshape(count, FRAME)
    probabilities = voice(frames, VoiceState())
    speech = np.flatnonzero(probabilities >= ONSET)
    if not len(speech):
        return audio, Quality(clipped_share(raw), level_dbfs(audio), 0.0, 0.0, False, False)
    first, last = int(speech[0]), int(np.flatnonzero(probabilities >= OFFSET)[-1])
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    voiced = probabilities >= ONSET
    level = float(power[voiced].mean())
    start = max(0, round((first * FRAME_S - MARGIN_S) * SAMPLE_RATE))
    end = round(((last + 1) * FRAME_S + MARGIN_S) * SAMPLE_RATE)
    noise = float(np.percentile(power, QUIETEST))
    floor = float(np.percentile(power, 10))
    word = max(level * 10 ** (-CUT_DB / 10), floor * 10 ** (ABOVE_NOISE_DB / 10))
    return audio[start:end], Quality(
        clipped=clipped_share(raw),
        level_dbfs=_decibels(level),
        snr_db=min(99.0, _decibels(max(level - noise, 0.0)) - _decibels(noise)),
        speech_s=(last + 1 - first) * FRAME_S,
        cut_start=first * FRAME_S < START_S and bool(power[0] > word),
        cut_end=(count - 1 - last) * FRAME_S < END_S and bool(power[-1] > word),
    )


def clipped_share(raw: Samples) -> float:
    """Share of samples that lie flat at the highest or the lowest value.

    Clipping in an analogue stage, or before a volume control, is flat below full scale too.
    """
    flat = 0
    for side in (raw, -raw):
        peak = float(side.max(initial=0))
        if peak >= QUIETEST_PEAK:
            flat += int(np.count_nonzero(side >= peak * (1 - FLAT)))
    return flat / max(1, len(raw))


def _decibels(power: float) -> float:
    return 10 * math.log10(max(power, 1e-20))


def problems(quality: Quality, text: str | None = None, hypothesis: str | None = None) -> list[str]:
    """What a person should know before keeping a take; empty where all is well.

    Args:
        quality: of the take.
        text: what should have been said, if that is known.
        hypothesis: what the recogniser made of it, if it was asked.
    """
    if not quality.speech_s:
        return ["no speech was found: is this the right microphone, and is it switched on?"]
    found = []
    if quality.clipped >= CLIPPED_SHARE:
        found.append("clipped: turn the microphone down, or move away from it")
    if quality.level_dbfs < QUIET_DBFS:
        found.append(f"too quiet ({quality.level_dbfs:.0f} dBFS): speak up, move nearer, or turn the microphone up")
    if quality.snr_db < NOISY_DB:
        found.append(
            f"noisy (speech is only {quality.snr_db:.0f} dB above the noise): move nearer, or find a quiet place"
        )
    if quality.speech_s < SHORTEST_SPEECH_S or (text and len(text) > quality.speech_s * FASTEST_SPEECH):
        found.append(f"too short ({quality.speech_s:.1f} s of speech)")
    if quality.cut_start:
        found.append("the start is cut off: wait a moment before speaking")
    if quality.cut_end:
        found.append("the end is cut off: wait a moment after speaking")
    if text and hypothesis is not None and likeness(text, hypothesis) < LEAST_LIKENESS:
        found.append(f"not what was recognised ({hypothesis or 'nothing'}): was it this sentence?")
    return found


def likeness(text: str, hypothesis: str) -> float:
    """0 to 1: how many characters two texts share in order, case and punctuation aside."""
    return SequenceMatcher(None, basic(text), basic(hypothesis), autojunk=False).ratio()
