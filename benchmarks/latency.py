"""Speed, memory and accuracy compared with other recognisers, with the same audio and threads.

    python benchmarks/latency.py [--threads 2] [--rounds 5] [--manifest MANIFEST] [--beam 1] [--published FOLDER]

Each engine runs in its own process, so that its memory can be measured. Rounds alternate between the
engines, so that other load on the machine affects all of them. Ratios are of medians, asr-edge divided
by the other: below 1, asr-edge is faster or smaller. Engines that are not installed are skipped with a
message.

For the published Moonshine pair under its own runtime: pip install useful-moonshine-onnx, and
--published names a folder with `encoder_model.onnx` and `decoder_model_merged.onnx` (from
`npm pack @moonshine-ai/moonshine-js@0.1.29`, package/dist/model/tiny/quantized). faster-whisper
needs a converted model on this disk: --whisper FOLDER. pocketsphinx includes a model.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.data.manifest import read_manifest
from device_app.evaluation.error_rates import english, error_rates
from device_app.evaluation.memory import peak_memory_mb
from device_app.evaluation.speed import CLIPS_S
from device_app.paths import RECORDINGS

Transcribe = Callable[[Samples], str]

CLIP_REPEATS = 5


def load_asr_edge(arguments: argparse.Namespace) -> Transcribe:
    from device_app import DecodingOptions, Transcriber, embedded_bundle

    options = DecodingOptions() if arguments.beam is None else DecodingOptions(beam=arguments.beam)
    transcriber = Transcriber(embedded_bundle(), threads=arguments.threads, options=options)
    return lambda audio: transcriber.transcribe(audio, SAMPLE_RATE).text


def load_published(arguments: argparse.Namespace) -> Transcribe:
    from moonshine_onnx.model import MoonshineOnnxModel
    from moonshine_onnx.transcribe import load_tokenizer

    model = MoonshineOnnxModel(models_dir=str(arguments.published), model_name="tiny")
    tokenizer = load_tokenizer()

    def transcribe(audio: Samples) -> str:
        longest = max(8, round(len(audio) / SAMPLE_RATE * 6.5))  # the limit that its authors use
        return str(tokenizer.decode_batch(model.generate(audio[None], longest))[0])

    return transcribe


def load_faster_whisper(arguments: argparse.Namespace) -> Transcribe:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(arguments.whisper), compute_type="int8", cpu_threads=arguments.threads)
    return lambda audio: " ".join(segment.text.strip() for segment in model.transcribe(audio, language="en")[0])


def load_pocketsphinx(_arguments: argparse.Namespace) -> Transcribe:
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")

    def transcribe(audio: Samples) -> str:
        decoder.start_utt()
        decoder.process_raw((audio * 32767).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        return decoder.hyp().hypstr if decoder.hyp() else ""

    return transcribe


ENGINES: dict[str, Callable[[argparse.Namespace], Transcribe]] = {
    "asr-edge": load_asr_edge,
    "published": load_published,
    "faster-whisper": load_faster_whisper,
    "pocketsphinx": load_pocketsphinx,
}


def missing(arguments: argparse.Namespace) -> dict[str, str]:
    """Engines that cannot run here, with the reason."""
    reasons = {}
    if importlib.util.find_spec("moonshine_onnx") is None:
        reasons["published"] = "pip install useful-moonshine-onnx"
    elif arguments.published is None:
        reasons["published"] = "name its files with --published"
    if importlib.util.find_spec("faster_whisper") is None:
        reasons["faster-whisper"] = "pip install faster-whisper"
    elif arguments.whisper is None:
        reasons["faster-whisper"] = "name a converted model with --whisper"
    if importlib.util.find_spec("pocketsphinx") is None:
        reasons["pocketsphinx"] = "pip install pocketsphinx"
    return reasons


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs one round of one engine in this process."""
    if hasattr(os, "sched_setaffinity"):  # some engines have no thread option and use all visible cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    utterances = read_manifest(arguments.manifest)
    audio = [one.read() for one in utterances]
    speech = np.concatenate(audio)
    import onnxruntime  # noqa: F401  imported first, so that the load time is the model's, not the library's

    began = time.perf_counter()
    transcribe = ENGINES[arguments.engine](arguments)
    load_s = time.perf_counter() - began
    transcribe(speech[: 2 * SAMPLE_RATE])
    began = time.perf_counter()
    hypotheses = [transcribe(piece) for piece in audio]
    whole_s = time.perf_counter() - began
    clips = {}
    for length_s in CLIPS_S:
        clip = speech[SAMPLE_RATE : (1 + length_s) * SAMPLE_RATE]
        times = []
        for _ in range(CLIP_REPEATS):
            began = time.perf_counter()
            transcribe(clip)
            times.append(time.perf_counter() - began)
        clips[f"{length_s} s clip"] = statistics.median(times)
    return {
        "seconds": {"loading": load_s, "all recordings": whole_s, **clips},
        "memory_mb": peak_memory_mb(),
        "wer": error_rates([one.transcript for one in utterances], hypotheses, english).wer,
        "audio_s": len(speech) / SAMPLE_RATE,
    }


def run_round(engine: str, arguments: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, *arguments, "--engine", engine], stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--manifest", type=Path, default=RECORDINGS / "manifest.jsonl")
    parser.add_argument("--beam", type=int, help="of asr-edge; 1 is greedy decoding")
    parser.add_argument("--published", type=Path)
    parser.add_argument("--whisper", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        print(json.dumps(measure(arguments)))
        return
    reasons = missing(arguments)
    for engine, reason in reasons.items():
        print(f"{engine} is skipped: {reason}", file=sys.stderr)
    engines = [engine for engine in ENGINES if engine not in reasons]
    passed_on = [argument for argument in sys.argv[1:] if argument != "--json"]
    run_round("asr-edge", passed_on)  # bakes the model and fills the disk cache
    rounds: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
    for turn in range(arguments.rounds):
        for engine in engines:
            print(f"round {turn + 1} of {arguments.rounds}: {engine}", file=sys.stderr)
            rounds[engine].append(run_round(engine, passed_on))
    report = {engine: summarise(results) for engine, results in rounds.items()}
    print(json.dumps(report, indent=2) if arguments.json else table(report))


def summarise(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds."""
    return {
        "seconds": {name: statistics.median(r["seconds"][name] for r in results) for name in results[0]["seconds"]},
        "memory_mb": statistics.median(r["memory_mb"] for r in results),
        "wer": results[0]["wer"],
        "audio_s": results[0]["audio_s"],
    }


def table(report: dict[str, Any]) -> str:
    ours = report["asr-edge"]
    lines = [f"{ours['audio_s']:.0f} s of audio; ratios are asr-edge divided by the other", ""]
    head = ["", *report, *(f"ratio to {engine}" for engine in report if engine != "asr-edge")]
    rows = [head]
    for name in ours["seconds"]:
        values = [result["seconds"][name] for result in report.values()]
        rows.append([name, *(f"{1000 * v:.0f} ms" for v in values), *(f"{values[0] / v:.2f}" for v in values[1:])])
    memory = [result["memory_mb"] for result in report.values()]
    rows.append(["peak memory", *(f"{m:.0f} MB" for m in memory), *(f"{memory[0] / m:.2f}" for m in memory[1:])])
    rows.append(["WER (english)", *(f"{result['wer']:.1%}" for result in report.values())])
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(head))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=False))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    main()
