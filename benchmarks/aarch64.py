"""The same recordings transcribed on emulated 64-bit ARM and on this machine: WER of both, and differing texts.

    python benchmarks/aarch64.py DATA WORK --emulated FOLDER/python [--recordings 100] [--commands 100]

FOLDER is what `scripts/aarch64.py` made. DATA holds the development sets; only their training lines are read.
Recordings are 1.5 to 4 s long, the same number of each set. Commands are single words and digits, cut at their first
and last sound. Silences and noises, in which nothing is said, must give no text. Both machines bake the embedded model
and run `asr-edge transcribe` with the settings for files and one thread. WORK keeps inputs and transcripts, so that a
run that was interrupted or reached --minutes continues; the report is of what both machines have transcribed.

--native PYTHON is the interpreter to compare with, this one by default. --native-packages names a folder that comes
first on its path, for instance one that `pip install --target` filled with the emulated machine's ONNX Runtime, so that
only the processors differ. Emulation says nothing about speed: none is measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.data.manifest import read_manifest
from device_app.data.utterance import Utterance
from device_app.evaluation.error_rates import english, error_counts

REPOSITORY = Path(__file__).resolve().parent.parent
RECORDING_SETS = ("census", "cv-canada", "cv-us", "mandarin-adults", "telephone-prompts")
DIGIT_SETS = ("digits-jackson", "digits-nicolas", "digits-theo")
RECORDING_S = (1.5, 4.0)
COMMAND_S = (0.2, 1.6)
COMMAND_WORDS = 2  # of a line of `census` that counts as a command: "stop", "enter five"
FRAME = SAMPLE_RATE // 100  # samples
SOUND = 0.03  # a frame is sound if its RMS is above this fraction of the loudest frame's
PAUSE_FRAMES = 6  # shorter quiet parts lie within a word
POOLED = "both"  # recordings and commands
TOLERANCE = 0.003  # the difference in pooled WER from which on the exit code is 1; so it is for text on silence
SILENCE_S = 3.0


@dataclass(frozen=True)
class Item:
    """One input. `text` is the reference; kind is recording, command or silence."""

    kind: str
    name: str
    text: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--emulated", type=Path, required=True, metavar="PYTHON")
    parser.add_argument("--native", type=Path, default=Path(sys.executable), metavar="PYTHON")
    parser.add_argument("--native-packages", type=Path, metavar="FOLDER")
    parser.add_argument("--recordings", type=int, default=100)
    parser.add_argument("--commands", type=int, default=100)
    parser.add_argument("--silences", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=180.0, help="stop the emulated machine after this time")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    audio = arguments.work / "audio"
    items = prepare(arguments.data, audio, arguments)
    path = [str(REPOSITORY), *([str(arguments.native_packages.resolve())] if arguments.native_packages else [])]
    native = {"PYTHONPATH": os.pathsep.join(reversed(path))}
    deadline = time.monotonic() + 60 * arguments.minutes
    transcripts = {
        "native": transcribe(arguments.native, items, audio, arguments.work / "native", native, None),
        "emulated": transcribe(arguments.emulated.absolute(), items, audio, arguments.work / "emulated", {}, deadline),
    }
    result = compare(items, transcripts["native"], transcripts["emulated"])
    result["same int8 files"] = len({int8_digest(arguments.work / machine) for machine in transcripts}) == 1
    print(json.dumps(result, indent=2) if arguments.json else table(result))
    difference = result["kinds"].get(POOLED, {"difference": 0.0})["difference"]
    sys.exit(bool(abs(difference) > TOLERANCE or result["invented"]))


def prepare(data: Path, audio: Path, arguments: argparse.Namespace) -> list[Item]:
    """Writes the inputs as 16 kHz FLAC files, the kinds mixed so that a part of a run has its share of each."""
    sources = {  # each with its own seed: a run of more inputs begins with those of a run of fewer
        "recording": islice(recordings(data, np.random.default_rng(0)), arguments.recordings),
        "command": islice(commands(data, np.random.default_rng(1)), arguments.commands),
        "silence": islice(silences(np.random.default_rng(2)), arguments.silences),
    }
    audio.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[tuple[float, Item]]] = {}
    for kind, source in sources.items():
        items = []
        for number, (text, samples) in enumerate(source):
            items.append(Item(kind, f"{kind}-{number:03}", text))
            soundfile.write(audio / f"{items[-1].name}.flac", samples, SAMPLE_RATE, subtype="PCM_16")
        found[kind] = [(position / len(items), item) for position, item in enumerate(items)]
    mixed = [item for _place, item in sorted(chain(*found.values()), key=lambda pair: pair[0])]
    (audio / "items.json").write_text(json.dumps([asdict(item) for item in mixed], indent=1), "utf-8")
    return mixed


def recordings(data: Path, random: np.random.Generator) -> Iterator[tuple[str, Samples]]:
    def of(name: str) -> Iterator[tuple[str, Samples]]:
        for one in shuffled(data / name / "manifest.jsonl", random):
            samples = one.read()
            if RECORDING_S[0] <= len(samples) / SAMPLE_RATE <= RECORDING_S[1] and words(one) > COMMAND_WORDS:
                yield one.transcript, samples

    rounds = zip_longest(*map(of, RECORDING_SETS))
    return (one for one in chain.from_iterable(rounds) if one is not None)


def commands(data: Path, random: np.random.Generator) -> Iterator[tuple[str, Samples]]:
    """Lines of `census` of one or two words, and the digits of recorded digit strings, in turn."""

    def spoken() -> Iterator[tuple[str, Samples]]:
        for one in shuffled(data / "census" / "manifest.jsonl", random):
            if words(one) <= COMMAND_WORDS:
                samples = one.read()
                parts = sounds(samples)
                if parts:
                    yield one.transcript, samples[parts[0].start : parts[-1].stop]

    def digits(name: str) -> Iterator[tuple[str, Samples]]:
        for one in shuffled(data / name / "manifest.jsonl", random):
            samples = one.read()
            parts = sounds(samples)
            if len(parts) == words(one):  # else a digit was cut in two, or two were joined
                choice = random.integers(len(parts))
                yield one.transcript.split()[choice], samples[parts[choice]]

    rounds = zip_longest(spoken(), *map(digits, DIGIT_SETS))
    for text, samples in (one for one in chain.from_iterable(rounds) if one is not None):
        if COMMAND_S[0] <= len(samples) / SAMPLE_RATE <= COMMAND_S[1]:
            yield text, samples


def silences(random: np.random.Generator) -> Iterator[tuple[str, Samples]]:
    """Digital silence, white noise, hum, clicks and slow bursts of noise, at levels from -60 to -20 dBFS."""
    time_s = np.arange(round(SILENCE_S * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    yield "", np.zeros_like(time_s)
    while True:
        level = 10 ** (random.uniform(-60, -20) / 20)
        noise = random.standard_normal(len(time_s), np.float32)
        clicks = noise * (random.random(len(time_s)) < 3 / SAMPLE_RATE) * 3
        for sound in (
            noise,
            np.sqrt(2) * np.sin(2 * np.pi * 50 * time_s),
            clicks,
            noise * np.square(np.sin(np.pi * time_s)),
        ):
            yield "", np.clip(level * sound, -1, 1).astype(np.float32)


def shuffled(manifest: Path, random: np.random.Generator) -> list[Utterance]:
    lines = read_manifest(manifest, "train")
    return [lines[i] for i in random.permutation(len(lines))]


def words(utterance: Utterance) -> int:
    return len(utterance.transcript.split())


def sounds(samples: Samples) -> list[slice]:
    """The parts of a recording between pauses, as slices of its samples."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    level = np.sqrt(np.mean(np.square(frames), axis=1))
    loud = np.flatnonzero(level > SOUND * level.max(initial=0.0))
    parts = np.split(loud, np.flatnonzero(np.diff(loud) > PAUSE_FRAMES) + 1)
    return [slice(int(part[0]) * FRAME, int(part[-1] + 1) * FRAME) for part in parts if len(part)]


def transcribe(
    python: Path,
    items: Sequence[Item],
    audio: Path,
    folder: Path,
    environment: Mapping[str, str],
    deadline: float | None,
) -> dict[str, str]:
    """Transcripts by the names of items, those of earlier runs included."""
    texts = folder / "texts"
    texts.mkdir(parents=True, exist_ok=True)
    files = {item.name: texts / f"{item.name}.txt" for item in items}
    todo = [str((audio / f"{name}.flac").absolute()) for name, file in files.items() if not file.exists()]
    command = [python, "-m", "device_app", "transcribe", "--threads", "1", "-o", texts.absolute(), *todo]
    variables = {**os.environ, **environment, "ASR_EDGE_HOME": str(folder.absolute() / "home")}
    left_s = None if deadline is None else max(1.0, deadline - time.monotonic())
    with (folder / "log").open("ab") as log:
        try:
            if todo:
                subprocess.run([*map(str, command)], env=variables, stdout=log, stderr=log, check=True, timeout=left_s)
        except subprocess.TimeoutExpired:
            print("stopped after --minutes; the same command continues", file=sys.stderr)
        except subprocess.CalledProcessError as error:
            sys.exit(f"aarch64: {python} ended with {error.returncode}; see {folder / 'log'}")
    return {name: file.read_text("utf-8").strip() for name, file in files.items() if file.exists()}


def compare(items: Sequence[Item], native: Mapping[str, str], emulated: Mapping[str, str]) -> dict[str, Any]:
    """Of the inputs that both machines have transcribed."""
    done = [item for item in items if item.name in native and item.name in emulated]
    kinds = {}
    for kind in ("recording", "command", POOLED):
        chosen = [item for item in done if item.text and kind in (item.kind, POOLED)]
        if not chosen:
            continue
        references = [item.text for item in chosen]
        counts = [
            error_counts(references, [texts[item.name] for item in chosen], english) for texts in (native, emulated)
        ]
        rates = [float(count[:, 0].sum() / count[:, 1].sum()) for count in counts]
        kinds[kind] = {
            "inputs": len(chosen),
            "words": int(counts[0][:, 1].sum()),
            "native": rates[0],
            "emulated": rates[1],
            "difference": rates[1] - rates[0],
            "empty": [sum(not texts[item.name] for item in chosen) for texts in (native, emulated)],
        }
    differing = [
        {"name": item.name, "reference": item.text, "native": native[item.name], "emulated": emulated[item.name]}
        for item in done
        if native[item.name] != emulated[item.name]
    ]
    quiet = [item.name for item in done if item.kind == "silence"]
    return {
        "kinds": kinds,
        "silences": len(quiet),
        "invented": {name: emulated[name] for name in quiet if emulated[name]},
        "differing": differing,
    }


def int8_digest(folder: Path) -> str:
    """Of the int8 files that this machine baked; "" where there are none."""
    files = sorted((folder / "home").rglob("*.onnx"), key=lambda file: file.name)
    return "".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


def table(result: Mapping[str, Any]) -> str:
    lines = [f"{'':10} inputs  words  native  emulated  difference  empty (native, emulated)"]
    lines += [
        f"{kind:10} {row['inputs']:6} {row['words']:6} {100 * row['native']:6.2f}% {100 * row['emulated']:8.2f}% "
        f"{100 * row['difference']:+11.2f}  {row['empty'][0]}, {row['empty'][1]}"
        for kind, row in result["kinds"].items()
    ]
    lines.append(f"silences: {result['silences']}, with text: {len(result['invented'])}")
    lines.append(f"int8 files are identical: {result['same int8 files']}; differing texts: {len(result['differing'])}")
    lines += [
        f"  {one['name']}: {one['reference']!r}: {one['native']!r}, {one['emulated']!r}" for one in result["differing"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
