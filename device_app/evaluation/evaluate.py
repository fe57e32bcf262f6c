"""A transcriber against manifests: what `asr-edge evaluate` reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from device_app.audio.samples import SAMPLE_RATE, read
from device_app.data.manifest import Entry
from device_app.evaluation.error_rates import aligned, all_error_rates, english, error_rates
from device_app.recognition.transcriber import Transcriber


@dataclass(frozen=True)
class Scored:
    """An entry and what was heard; `seconds` is the time it took, `duration_s` the audio's."""

    entry: Entry
    heard: str
    duration_s: float
    seconds: float


def hear(transcriber: Transcriber, entry: Entry) -> Scored:
    """Transcribes one entry.

    Raises:
        BadAudioError: its recording cannot be read.
    """
    audio = read(entry.audio)
    began = time.perf_counter()
    heard = transcriber.transcribe(audio, SAMPLE_RATE).text
    return Scored(entry, heard, len(audio) / SAMPLE_RATE, time.perf_counter() - began)


def evaluate(
    transcriber: Transcriber,
    manifests: Mapping[Path, Sequence[Entry]],
    *,
    worst: int = 0,
    on_done: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Error rates over all, per manifest and per speaker; WER and CER are fractions.

    Returns:
        What `asr-edge evaluate --json` prints: "english" and "basic", each with "wer" and "cer";
        "utterances", "duration_s", "seconds", "rtf"; "manifests", each with its own rates and
        its "speakers"; and with `worst`, as many utterances, aligned, worst first.

    Raises:
        BadAudioError: a recording cannot be read. No rates are given without it.
    """
    scored: dict[Path, list[Scored]] = {}
    for manifest, entries in manifests.items():
        scored[manifest] = []
        for entry in entries:
            scored[manifest].append(hear(transcriber, entry))
            on_done()
    everything = [item for items in scored.values() for item in items]
    duration_s = sum(item.duration_s for item in everything)
    seconds = sum(item.seconds for item in everything)
    report = {
        **_rates(everything),
        "duration_s": round(duration_s, 3),
        "seconds": round(seconds, 3),
        "rtf": seconds / duration_s,
        "manifests": [
            {
                "manifest": str(manifest),
                **_rates(items),
                "speakers": {
                    speaker: _rates([item for item in items if item.entry.speaker == speaker])
                    for speaker in sorted({item.entry.speaker for item in items})
                },
            }
            for manifest, items in scored.items()
        ],
    }
    if worst:
        report["worst"] = _worst(everything, worst)
    return report


def _rates(items: Sequence[Scored]) -> dict[str, Any]:
    rates = all_error_rates([item.entry.text for item in items], [item.heard for item in items])
    return {**{name: asdict(rate) for name, rate in rates.items()}, "utterances": len(items)}


def _worst(items: Sequence[Scored], count: int) -> list[dict[str, Any]]:
    ranked = sorted(
        ((error_rates([item.entry.text], [item.heard], english).wer, item) for item in items),
        key=lambda pair: -pair[0],
    )
    return [
        {
            "id": item.entry.id,
            "audio": str(item.entry.audio),
            "text": item.entry.text,
            "heard": item.heard,
            "english": {"wer": wer},
            "aligned": aligned(item.entry.text, item.heard, english),
        }
        for wer, item in ranked[:count]
        if wer > 0
    ]
