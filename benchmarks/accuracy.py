"""WER of several recognisers on named sets, clean and in degraded copies, with paired-bootstrap intervals.

    python benchmarks/accuracy.py MANIFEST... [--split test] [--most 100] [--conditions clean,noise-10]

Engines: `int8` (the default for files), `greedy` (the same with --beam 1), `fp32`, and `published`, the published
int8 pair under its own runtime on whole recordings (see benchmarks/latency.py for what it needs). All get the same
audio. Differences are to the first engine, pooled over sets, in points of WER `english`; the interval holds 95 %
of the resamples of utterances. Degraded copies are made of the recording alone, or of the other recordings of its
set (babble), with a fixed seed. Needs the extra `train` (torchaudio, scipy).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import intervals
import latency
import numpy as np
import scipy.signal
import scipy.stats
import torch
import torchaudio.functional
from numpy.typing import NDArray

from device_app import Transcriber, embedded_bundle
from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.data.manifest import read_manifest
from device_app.data.utterance import Utterance
from device_app.evaluation.error_rates import english, error_counts
from device_app.recognition.options import DecodingOptions

TALKERS = 6  # of the babble
REVERBERATION_S = 0.5  # T60 of the simulated room
DIRECT = 0.5  # the amplitude of the direct sound; the reverberation behind it has an energy of 1

Engine = Callable[[Samples], str]
Degrade = Callable[[Samples, Sequence[Samples], np.random.Generator], Samples]


def with_noise(audio: Samples, noise: Samples, snr_db: float) -> Samples:
    mixed = torchaudio.functional.add_noise(
        torch.from_numpy(audio), torch.from_numpy(np.resize(noise, len(audio))), torch.tensor(snr_db)
    )
    return np.asarray(mixed.numpy(), np.float32)


def noise(snr_db: float) -> Degrade:
    return lambda audio, _others, random: with_noise(audio, random.standard_normal(len(audio), np.float32), snr_db)


def babble(snr_db: float) -> Degrade:
    def degrade(audio: Samples, others: Sequence[Samples], random: np.random.Generator) -> Samples:
        talkers = [others[i] for i in random.choice(len(others), TALKERS)]
        voices = [np.resize(talker / max(1e-6, talker.std()), len(audio)) for talker in talkers]
        return with_noise(audio, np.sum(voices, axis=0, dtype=np.float32), snr_db)

    return degrade


def music(snr_db: float) -> Degrade:
    """Synthetic music: every half second a chord of decaying harmonics and a drum. No recorded music is at hand."""

    def degrade(audio: Samples, _others: Sequence[Samples], random: np.random.Generator) -> Samples:
        beat = SAMPLE_RATE // 2
        time_s = np.arange(2 * beat) / SAMPLE_RATE
        mixed = np.zeros(len(audio) + 2 * beat, np.float32)
        for start in range(0, len(audio), beat):
            root = 110.0 * 2 ** (random.choice([0, 5, 7, 9]) / 12)
            for interval in (0, 4, 7, 12):
                for harmonic in range(1, 6):
                    pitch = harmonic * root * 2 ** (interval / 12)
                    mixed[start : start + 2 * beat] += (
                        np.sin(2 * np.pi * pitch * time_s) * np.exp(-3 * time_s) / harmonic
                    )
            drum = random.standard_normal(beat // 4) * np.exp(-np.arange(beat // 4) / 400)
            mixed[start : start + len(drum)] += 2 * drum
        return with_noise(audio, mixed[: len(audio)], snr_db)

    return degrade


def telephone(audio: Samples, _others: Sequence[Samples], _random: np.random.Generator) -> Samples:
    band = scipy.signal.butter(4, (300, 3400), "bandpass", fs=SAMPLE_RATE, output="sos")
    return np.asarray(scipy.signal.sosfilt(band, audio), np.float32)


def far_field(audio: Samples, _others: Sequence[Samples], random: np.random.Generator) -> Samples:
    """A room's impulse response as noise that decays by 60 dB in `REVERBERATION_S`, after the direct sound."""
    time_s = np.arange(round(REVERBERATION_S * SAMPLE_RATE)) / SAMPLE_RATE
    response = random.standard_normal(len(time_s)) * 10 ** (-3 * time_s / REVERBERATION_S)
    response /= np.sqrt(np.square(response).sum())
    response[0] = DIRECT
    reverberant = scipy.signal.fftconvolve(audio, response)[: len(audio)]
    return np.asarray(reverberant * (audio.std() / max(1e-9, reverberant.std())), np.float32)


CONDITIONS: Mapping[str, Degrade] = {
    "clean": lambda audio, _others, _random: audio,
    "noise-10": noise(10.0),
    "noise-5": noise(5.0),
    "babble-10": babble(10.0),
    "babble-5": babble(5.0),
    "music-10": music(10.0),
    "telephone": telephone,
    "far-field": far_field,
}


def engines(arguments: argparse.Namespace) -> dict[str, Engine]:
    def ours(precision: str, beam: int | None = None) -> Engine:
        transcriber = Transcriber(
            embedded_bundle(), precision=precision, threads=arguments.threads, options=DecodingOptions(beam=beam)
        )
        return lambda audio: transcriber.transcribe(audio, SAMPLE_RATE).text

    known: dict[str, Callable[[], Engine]] = {
        "int8": lambda: ours("int8"),
        "greedy": lambda: ours("int8", 1),
        "fp32": lambda: ours("fp32"),
        "published": lambda: latency.load_published(arguments),
    }
    names = arguments.engines.split(",")
    if "published" in names and (reason := latency.missing(arguments).get("published")):
        print(f"published is left out: {reason}", file=sys.stderr)
        names.remove("published")
    return {name: known[name]() for name in names}


def chosen(manifest: Path, split: str | None, most: int | None) -> list[Utterance]:
    """At most so many of the manifest's utterances, drawn with a fixed seed."""
    utterances = read_manifest(manifest, split)
    return [utterances[i] for i in sorted(np.random.default_rng(0).permutation(len(utterances))[:most])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--most", type=int, help="utterances of each manifest")
    parser.add_argument("--conditions", default=",".join(CONDITIONS))
    parser.add_argument("--engines", default="int8,greedy,fp32,published")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--published", type=Path)
    parser.add_argument("--whisper", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    sets = {path.parent.name: chosen(path, arguments.split, arguments.most) for path in arguments.manifests}
    references = [one.transcript for utterances in sets.values() for one in utterances]
    set_of_each = np.repeat(list(sets), [len(utterances) for utterances in sets.values()])
    speech = {name: [one.read() for one in utterances] for name, utterances in sets.items()}
    running = engines(arguments)
    report: dict[str, dict[str, Any]] = {}
    for condition in arguments.conditions.split(","):
        random = np.random.default_rng(0)
        audio = [CONDITIONS[condition](one, others, random) for others in speech.values() for one in others]
        counts: dict[str, NDArray[np.int64]] = {}
        for name, recognise in running.items():
            began = time.perf_counter()
            hypotheses = [recognise(one) for one in audio]
            seconds = time.perf_counter() - began
            counts[name] = error_counts(references, hypotheses, english)
            row = {"all": wer(counts[name])}
            row |= {one: wer(counts[name][set_of_each == one]) for one in sets}
            low, high = intervals.difference(next(iter(counts.values())), counts[name])
            row |= {"low": low, "high": high, "seconds": seconds}
            report[f"{condition} {name}"] = row
            if not arguments.json:
                print(line(f"{condition} {name}", row), flush=True)
    if arguments.json:
        print(json.dumps(report, indent=2))


def wer(counts: NDArray[np.int64]) -> float:
    """A fraction, of (utterances, 2) wrong words and words."""
    return float(counts[:, 0].sum() / counts[:, 1].sum())


def line(label: str, row: Mapping[str, float]) -> str:
    sets = "  ".join(f"{name} {100 * row[name]:.1f}" for name in row if name not in ("all", "low", "high", "seconds"))
    interval = f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
    return f"{label:20} {100 * row['all']:5.1f} {interval:>14} {row['seconds']:6.1f} s  {sets}"


if __name__ == "__main__":
    main()
