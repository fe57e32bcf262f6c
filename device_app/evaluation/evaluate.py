"""Evaluates a transcriber on manifests, as reported by `asr-edge evaluate`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from device_app.audio.samples import SAMPLE_RATE
from device_app.data.cuts import CutReader
from device_app.data.utterance import Utterance
from device_app.evaluation.error_rates import Alignment, align_all
from device_app.recognition.transcriber import Transcriber


@dataclass(frozen=True)
class Scored:
    """An utterance and its hypothesis.

    Attributes:
        utterance: the utterance.
        hypothesis: the recogniser's transcript.
        duration_s: duration of the audio in seconds.
        seconds: seconds that the recogniser took.
    """

    utterance: Utterance
    hypothesis: str
    duration_s: float
    seconds: float


def transcribe(
    transcriber: Transcriber,
    utterance: Utterance,
    on_repair: Callable[[str], None] = lambda _message: None,
    reader: CutReader | None = None,
) -> Scored:
    """Transcribes one utterance.

    Args:
        transcriber: the transcriber to evaluate.
        utterance: with its recording.
        on_repair, reader: as for `Utterance.read`.

    Raises:
        BadAudioError: its recording cannot be read.
    """
    audio = utterance.read(on_repair, reader)
    began = time.perf_counter()
    hypothesis = transcriber.transcribe(audio, SAMPLE_RATE).text
    return Scored(utterance, hypothesis, len(audio) / SAMPLE_RATE, time.perf_counter() - began)


def evaluate(
    transcriber: Transcriber,
    manifests: Mapping[str, Sequence[Utterance]],
    *,
    worst: int = 0,
    on_done: Callable[[], None] = lambda: None,
    on_repair: Callable[[str], None] = lambda _message: None,
) -> dict[str, Any]:
    """Computes error rates over all utterances, per manifest and per speaker, as fractions.

    Args:
        transcriber: the transcriber to evaluate.
        manifests: utterances by path of the manifest, or by another name; at least one utterance in all.
        worst: number of utterances with the highest WER to report.
        on_done: called after each utterance.
        on_repair: as for `Utterance.read`.

    Returns:
        The output of `asr-edge evaluate --json`: "english" and "basic", each with "wer" and "cer";
        "utterances", "duration_s", "seconds", "rtf"; "manifests", each with its own rates and
        "speakers"; if `worst` is not 0, also "worst", aligned utterances, the worst first.

    Raises:
        BadAudioError: a recording cannot be read; no rates are computed without it.
    """
    scored: list[Scored] = []
    by_manifest: dict[str, range] = {}
    with CutReader() as reader:
        for manifest, utterances in manifests.items():
            first = len(scored)
            for utterance in utterances:
                scored.append(transcribe(transcriber, utterance, on_repair, reader))
                on_done()
            by_manifest[manifest] = range(first, len(scored))
    alignments = align_all(
        [one.utterance.transcript for one in scored], [one.hypothesis for one in scored], transcriber.language
    )
    duration_s = sum(one.duration_s for one in scored)
    seconds = sum(one.seconds for one in scored)
    report = {
        **_rates(alignments, range(len(scored))),
        "duration_s": round(duration_s, 3),
        "seconds": round(seconds, 3),
        "rtf": seconds / duration_s,
        "manifests": [
            {
                "manifest": manifest,
                **_rates(alignments, indices),
                "speakers": _rates_by_speaker(alignments, scored, indices),
            }
            for manifest, indices in by_manifest.items()
        ],
    }
    if worst:
        report["worst"] = _worst(scored, alignments, worst)
    return report


def _rates(alignments: Mapping[str, Alignment], indices: Sequence[int]) -> dict[str, Any]:
    rates = {name: asdict(alignment.rates(indices)) for name, alignment in alignments.items()}
    return {**rates, "utterances": len(indices)}


def _rates_by_speaker(
    alignments: Mapping[str, Alignment], scored: Sequence[Scored], indices: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Rates by speaker; utterances without a speaker are under ""."""
    speakers = {index: scored[index].utterance.speaker or "" for index in indices}
    return {
        speaker: _rates(alignments, [index for index in indices if speakers[index] == speaker])
        for speaker in sorted(set(speakers.values()))
    }


def _worst(scored: Sequence[Scored], alignments: Mapping[str, Alignment], count: int) -> list[dict[str, Any]]:
    """The utterances with the highest WER under the first normaliser, without those that have no error."""
    name, alignment = next(iter(alignments.items()))
    rates = [alignment.rates([index]).wer for index in range(len(scored))]
    ranked = sorted(range(len(scored)), key=lambda index: -rates[index])
    return [
        {
            "id": scored[index].utterance.id,
            "audio": str(scored[index].utterance.audio),
            "text": scored[index].utterance.transcript,
            "hypothesis": scored[index].hypothesis,
            name: {"wer": rates[index]},
            "aligned": alignment.table(index),
        }
        for index in ranked[:count]
        if rates[index] > 0
    ]
