"""Quality problems of a recording: clipped, too quiet, noisy, too short, cut off, not the prompt.

The thresholds were tuned on the training sets of the development recordings and on synthetic cases
(`benchmarks/quality.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import SAMPLE_RATE, Samples, as_mono, level_dbfs, to_model_rate
from device_app.audio.vad import FRAME, FRAME_S, OFFSET, ONSET, VoiceActivity
from device_app.evaluation.error_rates import basic

MARGIN_S = 0.3  # silence kept before and after speech

MAX_CLIPPED = 0.0004  # fraction of samples near the peak; unclipped speech has about 0.0001
CLIPPED_DISTANCE = 0.001  # a sample counts as clipped within this distance from the peak, relative to the peak
MIN_PEAK = 0.01  # at lower peaks, rounding to 16 bits makes samples equal
MIN_LEVEL_DBFS = -40.0
MIN_SNR_DB = 13.0  # between read speech without pauses (at least 14) and speech 5 dB above babble (at most 12)
NOISE_PERCENTILE = 20  # of the frame powers; this fraction of frames is noise, even in speech without pauses
MIN_SPEECH_S = 0.3
MAX_CHARACTERS_PER_S = 30.0  # fast speakers reach 20
MAX_SYLLABLES_PER_S = 15.0  # of scripts without spaces, with about a syllable in each character
START_S = 0.25  # speech that is detected before this may have been cut off; the VAD has a delay
END_S = 0.1
CUT_DB = 15.0  # a word has ended where the level is this far below that of speech
ABOVE_NOISE_DB = 10.0  # an end less far above the quietest tenth of the frames is noise, not a word
MAX_SNR_DB = 99.0  # reported if the pauses are digital silence
MIN_SIMILARITY = 0.5  # of prompt and hypothesis (`similarity`); below it, probably another sentence was read

Problem = Literal["no speech", "clipped", "quiet", "noisy", "short", "cut start", "cut end", "other text"]


@dataclass(frozen=True)
class Quality:
    """Quality measurements of one take.

    Attributes:
        clipped: fraction of clipped samples.
        level_dbfs: RMS level of the speech, dB relative to full scale; of the whole take if there is no speech.
        snr_db: signal-to-noise ratio, dB, at most 99; 0 if there is no speech.
        speech_s: seconds from the first to the last frame of speech; 0 if there is no speech.
        cut_start, cut_end: whether the audio starts or ends within speech.
    """

    clipped: float
    level_dbfs: float
    snr_db: float
    speech_s: float
    cut_start: bool
    cut_end: bool


def measure(take: NDArray[np.generic], sample_rate: float, voice: VoiceActivity) -> tuple[Samples, Quality]:
    """Trims a take to its speech and measures its quality.

    Uses the speech probabilities of single frames, which the measurements need anyway. `audio.vad.speech_span`
    would drop a word that is too short for a segment, and rounds its margins to frames.

    Args:
        take: (samples,) as recorded by the device, because resampling hides clipping.
        sample_rate: in Hz.
        voice: the voice activity detector.

    Returns:
        The speech with 0.3 s of margin, (samples,) at 16 kHz, and its quality. Without speech, nothing
        is trimmed.

    Raises:
        BadAudioError: `take` is not audio, or is shorter than 0.1 s.
    """
    raw = as_mono(take)
    audio = to_model_rate(raw, sample_rate)
    count = max(1, len(audio) // FRAME)
    # Drops an incomplete last frame; audio that is shorter than a frame is repeated.
    frames = np.resize(audio, count * FRAME).reshape(count, FRAME)
    probabilities = voice(frames, voice.start())
    speech = np.flatnonzero(probabilities >= ONSET)
    if not len(speech):
        return audio, Quality(clipped_fraction(raw), level_dbfs(audio), 0.0, 0.0, False, False)
    first, last = int(speech[0]), int(np.flatnonzero(probabilities >= OFFSET)[-1])
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    voiced = probabilities >= ONSET
    level = float(power[voiced].mean())
    start = max(0, round((first * FRAME_S - MARGIN_S) * SAMPLE_RATE))
    end = round(((last + 1) * FRAME_S + MARGIN_S) * SAMPLE_RATE)
    noise = float(np.percentile(power, NOISE_PERCENTILE))
    floor = float(np.percentile(power, 10))
    min_word_power = max(level * 10 ** (-CUT_DB / 10), floor * 10 ** (ABOVE_NOISE_DB / 10))
    return audio[start:end], Quality(
        clipped=clipped_fraction(raw),
        level_dbfs=_db(level),
        snr_db=min(MAX_SNR_DB, _db(max(level - noise, 0.0)) - _db(noise)),
        speech_s=(last + 1 - first) * FRAME_S,
        cut_start=first * FRAME_S < START_S and bool(power[0] > min_word_power),
        cut_end=(count - 1 - last) * FRAME_S < END_S and bool(power[-1] > min_word_power),
    )


def clipped_fraction(raw: Samples) -> float:
    """Fraction of the samples (samples,) at the highest or the lowest value of the recording.

    Uses the peak instead of full scale, because clipping in an analogue stage or before a volume control
    is below full scale.
    """
    clipped = 0
    for side in (raw, -raw):
        peak = float(side.max(initial=0))
        if peak >= MIN_PEAK:
            clipped += int(np.count_nonzero(side >= peak * (1 - CLIPPED_DISTANCE)))
    return clipped / max(1, len(raw))


def _db(power: float) -> float:
    """A power in dB relative to 1; at least -200, also of digital silence."""
    return 10 * math.log10(max(power, 1e-20))


def find_problems(quality: Quality, text: str | None = None, hypothesis: str | None = None) -> list[Problem]:
    """Finds the quality problems of a take; empty if there are none.

    Args:
        quality: the quality of the take.
        text: the prompt, if there is one.
        hypothesis: the hypothesis of the recogniser, if the take was transcribed.
    """
    if not quality.speech_s:
        return ["no speech"]
    is_too_fast = bool(text) and _shortest_s(text or "") > quality.speech_s
    is_other_text = bool(text) and hypothesis is not None and similarity(text or "", hypothesis) < MIN_SIMILARITY
    found: dict[Problem, bool] = {
        "clipped": quality.clipped >= MAX_CLIPPED,
        "quiet": quality.level_dbfs < MIN_LEVEL_DBFS,
        "noisy": quality.snr_db < MIN_SNR_DB,
        "short": quality.speech_s < MIN_SPEECH_S or is_too_fast,
        "cut start": quality.cut_start,
        "cut end": quality.cut_end,
        "other text": is_other_text,
    }
    return [problem for problem, is_there in found.items() if is_there]


def problems(quality: Quality, text: str | None = None, hypothesis: str | None = None) -> list[str]:
    """Describes the quality problems of a take for the user of a terminal; see `find_problems`."""
    texts: dict[Problem, str] = {
        "no speech": "no speech was found: is this the right microphone, and is it switched on?",
        "clipped": "clipped: turn the microphone down, or move away from it",
        "quiet": f"too quiet ({quality.level_dbfs:.0f} dBFS): speak up, move nearer, or turn the microphone up",
        "noisy": f"noisy (speech is only {quality.snr_db:.0f} dB above the noise): move nearer, or find a quiet place",
        "short": f"too short ({quality.speech_s:.1f} s of speech)",
        "cut start": "the start is cut off: wait a moment before speaking",
        "cut end": "the end is cut off: wait a moment after speaking",
        "other text": "the recognised text is very different: did you read this sentence?",
    }
    return [texts[problem] for problem in find_problems(quality, text, hypothesis)]


def _shortest_s(text: str) -> float:
    """The fewest seconds in which a text can be spoken."""
    words = basic(text).split()
    # `basic` makes a word of each character of a script without spaces.
    syllables = sum(len(word) == 1 and not word.isascii() for word in words)
    return (len(text) - syllables) / MAX_CHARACTERS_PER_S + syllables / MAX_SYLLABLES_PER_S


def similarity(text: str, hypothesis: str) -> float:
    """Similarity of two texts, 0 to 1: the fraction of matching characters, ignoring case and punctuation."""
    return SequenceMatcher(None, basic(text), basic(hypothesis), autojunk=False).ratio()
