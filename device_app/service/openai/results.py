"""Transcripts in the formats of OpenAI's API."""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection
from typing import Any

from device_app.recognition.results import Transcript, TranscriptSegment
from device_app.recognition.writers import Format, render
from device_app.service.parameters.languages import name_of

TEXTS = {"srt": Format.SRT, "vtt": Format.VTT}


def as_text(transcript: Transcript, response_format: str) -> str:
    """A transcript in the format "text", "srt" or "vtt"."""
    if response_format == "text":
        return transcript.text + "\n"
    return render(transcript, TEXTS[response_format], "")


def as_json(transcript: Transcript) -> dict[str, Any]:
    """The JSON object of the format "json"."""
    return {"text": transcript.text, "usage": usage(transcript.duration_s)}


def as_verbose_json(transcript: Transcript, granularities: Collection[str], language: str) -> dict[str, Any]:
    """The JSON object of the format "verbose_json"; `openai_segment` says which values have a substitute.

    Args:
        transcript: the transcript.
        granularities: "segment", "word" or both.
        language: of the model, a code of ISO 639.
    """
    found: dict[str, Any] = {
        "task": "transcribe",
        "language": name_of(language),
        "duration": round(transcript.duration_s, 3),
        "text": transcript.text,
        "usage": usage(transcript.duration_s),
    }
    if "segment" in granularities:
        found["segments"] = [openai_segment(number, segment) for number, segment in enumerate(transcript.segments)]
    if "word" in granularities:
        found["words"] = [
            {"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3)}
            for word in transcript.words
        ]
    return found


def openai_segment(number: int, segment: TranscriptSegment) -> dict[str, Any]:
    """A segment as OpenAI writes it.

    `avg_logprob` is the mean over the words instead of the tokens. `tokens` is empty, and `temperature`,
    `no_speech_prob` and `seek` are 0, because this recogniser has no such values.
    """
    data = segment.text.encode()
    return {
        "id": number,
        "seek": 0,
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(math.log(max(segment.confidence, 1e-6)), 4),
        "compression_ratio": round(len(data) / len(zlib.compress(data)), 4),  # as Whisper computes it
        "no_speech_prob": 0.0,
    }


def usage(duration_s: float) -> dict[str, Any]:
    """What OpenAI bills by: whole seconds of audio."""
    return {"type": "duration", "seconds": math.ceil(duration_s)}
