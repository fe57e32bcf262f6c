"""Measures speed, for `asr-edge bench` and the comparisons in `benchmarks/`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.audio.vad import FRAME, SegmentSettings
from device_app.recognition.transcriber import Transcriber
from editing.errors import BadInputError

CLIPS_S = (1, 3, 5, 10)  # seconds of each clip
LIVE_S = 5.0  # seconds of speech in each repeat of the live measurement
BLOCK = round(0.05 * SAMPLE_RATE)  # samples per block of a microphone


def measure(
    transcriber: Transcriber, recordings: Sequence[Samples], repeats: int, on_done: Callable[[], None]
) -> dict[str, Any]:
    """Times transcription of whole recordings, of clips, and of live speech.

    Args:
        transcriber: freshly loaded; its first transcription, of 3 s, is timed separately.
        recordings: speech at 16 kHz, at least 10 s in total.
        repeats: number of runs that a median is taken over.
        on_done: called `steps(repeats)` times.

    Returns:
        rtf (seconds of computation per second of audio: the median of the repeats, each over all recordings),
        first_text_s, clips_ms by clip length in seconds, end_of_speech_ms (median, p95; see
        `end_of_speech_latencies`), and silence_s: the silence that ends an utterance.

    Raises:
        BadInputError: no utterance ended in the live measurement, because the recordings have no speech.
    """
    speech = np.concatenate(recordings)
    first_text_s = _duration_of(partial(transcriber.transcribe, speech[: 3 * SAMPLE_RATE], SAMPLE_RATE))
    on_done()
    totals = []
    for _ in range(repeats):
        totals.append(sum(_duration_of(partial(transcriber.transcribe, a, SAMPLE_RATE)) for a in recordings))
        on_done()
    clips_ms = {}
    for length_s in CLIPS_S:
        transcribe_clip = partial(transcriber.transcribe, speech[: length_s * SAMPLE_RATE], SAMPLE_RATE)
        times = [_duration_of(transcribe_clip) for _ in range(repeats)]
        clips_ms[str(length_s)] = round(1000 * statistics.median(times), 1)
        on_done()
    settings = SegmentSettings()
    latencies = []
    length = round(LIVE_S * SAMPLE_RATE)
    parts = max(1, len(speech) // length)
    for turn in range(repeats):
        start = turn % parts * length
        latencies += end_of_speech_latencies(transcriber, speech[start : start + length], settings)
        on_done()
    if not latencies:
        raise BadInputError("there is no speech in the recordings, so nothing ends; name recordings of speech")
    return {
        "rtf": round(statistics.median(totals) / (len(speech) / SAMPLE_RATE), 5),
        "first_text_s": round(first_text_s, 4),
        "clips_ms": clips_ms,
        "end_of_speech_ms": {
            "median": round(1000 * statistics.median(latencies), 1),
            "p95": round(1000 * float(np.percentile(latencies, 95)), 1),
        },
        "silence_s": settings.silence_s,
    }


def steps(repeats: int) -> int:
    """The number of times that `measure` calls `on_done`."""
    return 1 + 2 * repeats + len(CLIPS_S)


def end_of_speech_latencies(transcriber: Transcriber, speech: Samples, settings: SegmentSettings) -> list[float]:
    """Latencies, in seconds, from the end of the silence that ends an utterance to its final text.

    Feeds speech and then silence in blocks in real time, as from a microphone. A latency starts when
    the block arrives that completes `settings.silence_s` of silence.

    Args:
        transcriber: the transcriber to measure.
        speech: (samples,) at 16 kHz.
        settings: how the stream is split into utterances.
    """
    # A second more than the silence that ends a segment, in whole frames of the voice activity detector.
    quiet = np.zeros(round((settings.silence_s + 1) * SAMPLE_RATE) // FRAME * FRAME, np.float32)
    audio = np.concatenate([speech, quiet])
    stream = transcriber.stream(settings=settings)
    start_time = time.perf_counter()
    latencies: list[float] = []
    for start in range(0, len(audio), BLOCK):
        due = start_time + (start + BLOCK) / SAMPLE_RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        if any(update.is_final for update in stream.feed(audio[start : start + BLOCK])):
            latencies.append(time.perf_counter() - due)
    return latencies


def _duration_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
