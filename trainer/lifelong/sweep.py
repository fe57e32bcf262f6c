"""Lambda and density, every pair of them, from one fine-tuning a step; and what stored edits cost."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from device_app.audio import SAMPLE_RATE, read
from device_app.manifest import read_manifest
from device_app.models import RECORDINGS, find_bundle
from device_app.transcriber import Transcriber
from editing.files import write_atomically
from editing.registry import METHODS, Tensors
from editing.task_vector import Origin, TaskVector, apply
from export.bake import bake
from export.weights import read_weights, write_weights
from trainer.lifelong.config import Experiment
from trainer.lifelong.runner import Domain, Tell, Work, load_domains, opened

LAMBDAS = tuple(round(0.1 * n, 1) for n in range(1, 10))
DENSITIES = LAMBDAS
CHAIN = {"lam": 0.6, "density": 0.5}  # with which the next step's start is made: the paper's


def sweep(
    experiment: Experiment,
    out: Path,
    tell: Tell,
    *,
    lambdas: Sequence[float] = LAMBDAS,
    densities: Sequence[float] = DENSITIES,
    utterances: int | None = 20,
    threads: int | None = None,
    on_done: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Fine-tunes once a step, merges with TIES and every lambda and density, and hears the domains seen so far.

    Pairs that have been heard are not heard again when a killed sweep is started anew.

    Args:
        experiment: its base, order, manifests and fine-tuning count; the first seed.
        out: a folder.
        tell: is told what goes on.
        lambdas, densities: the grid.
        utterances: of each test part, the first; None for all.
        threads: for the recogniser.
        on_done: called after every pair.

    Returns:
        What `sweep.json` holds: "steps", each with its "cells" (lambda, density, WER by domain,
        average), the "best" of them, and the seconds of tuning, merging and hearing.

    Raises:
        BadInputError, BadAudioError, TrainingError: as `trainer.lifelong.runner.run`.
    """
    domains = load_domains(experiment)
    if utterances is not None:
        domains = {name: Domain(one.training, one.test[:utterances]) for name, one in domains.items()}
    with opened(replace(experiment, methods=()), out):
        work = Work(experiment, domains, out, threads)
        theta: Tensors = work.base
        steps = []
        known = [experiment.base_domain] if experiment.base_domain else []
        for number, domain in enumerate(experiment.order, 1):
            known.append(domain)
            record, theta = _swept(work, number, domain, known, theta, (lambdas, densities), tell, on_done)
            steps.append(record)
    result = {"lambdas": list(lambdas), "densities": list(densities), "utterances": utterances, "steps": steps}
    write_atomically(out / "sweep.json", (json.dumps(result, indent=1) + "\n").encode())
    return result


def _swept(
    work: Work,
    number: int,
    domain: str,
    known: Sequence[str],
    theta: Tensors,
    grid: tuple[Sequence[float], Sequence[float]],
    tell: Tell,
    on_done: Callable[[], None],
) -> tuple[dict[str, Any], Tensors]:
    path = work.out / "sweep" / f"step-{number}.json"
    tuned_path = path.with_suffix(".safetensors")
    record: dict[str, Any] = (
        json.loads(path.read_text("utf-8")) if path.is_file() else {"number": number, "domain": domain, "cells": []}
    )
    if tuned_path.is_file():
        tuned: Tensors = read_weights(tuned_path)
    else:
        tell(f"learning {domain} ({number} of {len(work.experiment.order)})")
        began = time.perf_counter()
        tuned = work.tuner(work.experiment.seeds[0] * 1000 + number)(theta, work.examples(domain))
        record["tuning_s"] = time.perf_counter() - began
        record["merging_s"] = record["hearing_s"] = 0.0
        tuned_path.parent.mkdir(parents=True, exist_ok=True)
        write_weights(tuned_path, dict(tuned))
        write_atomically(path, json.dumps(record).encode())
    vector = {name: tuned[name] - theta[name] for name in theta}
    done = {(cell["lam"], cell["density"]) for cell in record["cells"]}
    for density in grid[1]:
        if all((lam, density) in done for lam in grid[0]):
            continue
        began = time.perf_counter()
        trimmed = METHODS["ties"]([vector], lam=1.0, density=density)  # once for all lambdas
        record["merging_s"] += time.perf_counter() - began
        for lam in grid[0]:
            if (lam, density) in done:
                continue
            began = time.perf_counter()
            scaled = {name: np.float32(lam) * tensor for name, tensor in trimmed.items()}
            weights = apply(theta, scaled, out=scaled)
            merged = time.perf_counter()
            heard = work.score(weights, known)
            record["merging_s"] += merged - began
            record["hearing_s"] += time.perf_counter() - merged
            wer = {name: sum(one["wrong"]) / max(1, sum(one["words"])) for name, one in heard.items()}
            cell = {"lam": lam, "density": density, "wer": wer, "average_wer": float(np.mean(list(wer.values())))}
            record["cells"].append(cell)
            write_atomically(path, json.dumps(record).encode())
            on_done()
    record["best"] = min(record["cells"], key=lambda cell: (cell["average_wer"], cell["lam"], cell["density"]))
    return record, apply(theta, METHODS["ties"]([vector], **CHAIN))


def overhead(
    folder: Path, *, model: str | None = None, counts: Sequence[int] = (1, 5, 10, 20), threads: int | None = None
) -> list[dict[str, float]]:
    """What stored edits cost: random task vectors of the model's shapes, trimmed to a half and kept as the ledger does.

    Args:
        folder: where the vectors are written, made and left.
        model: a bundle; None for the embedded one.
        counts: how many edits a version has.
        threads: for the recogniser.

    Returns:
        For every count: "edits", "disk_mb" of the vectors, "merge_s" from base and vectors to the
        version's weights, "bake_s", "peak_mb" of memory so far, and "latency_ms", the median time
        to hear a recording of a few seconds; "latency_ratio" is that beside the base, measured in turns.
    """
    bundle = find_bundle(model)
    base = bundle.weights()
    random = np.random.default_rng(0)
    audio = read(read_manifest(RECORDINGS / "manifest.jsonl")[0].audio)
    origin = Origin(family=bundle.family, base=bundle.weights_hash, domain="overhead", utterances=0, seconds=0.0)
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    rows = []
    bake(bundle, base, "int8", folder / "base")
    plain = Transcriber(bundle, threads=threads, folder=folder / "base")
    for count in sorted(counts):
        while len(paths) < count:
            noise = {n: random.standard_normal(t.shape, np.float32) * np.float32(1e-5) for n, t in base.items()}
            vector = TaskVector(METHODS["ties"]([noise], lam=1.0, density=0.5), origin)
            paths.append(folder / f"{len(paths) + 1}.safetensors")
            write_atomically(paths[-1], vector.to_bytes())
        began = time.perf_counter()
        weights: Tensors = base
        for path in paths[:count]:
            weights = apply(weights, METHODS["task_arithmetic"]([TaskVector.load(path).tensors], lam=0.6))
        merged = time.perf_counter()
        bake(bundle, weights, "int8", folder / "edited")
        baked = time.perf_counter()
        edited = Transcriber(bundle, threads=threads, folder=folder / "edited")
        times: dict[str, list[float]] = {"edited": [], "plain": []}
        for _ in range(9):
            for name, transcriber in (("edited", edited), ("plain", plain)):
                start = time.perf_counter()
                transcriber.transcribe(audio, SAMPLE_RATE)
                times[name].append(time.perf_counter() - start)
        latency = {name: float(np.median(found)) for name, found in times.items()}
        rows.append(
            {
                "edits": count,
                "disk_mb": sum(path.stat().st_size for path in paths[:count]) / 1e6,
                "merge_s": merged - began,
                "bake_s": baked - merged,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
                "latency_ms": 1e3 * latency["edited"],
                "latency_ratio": latency["edited"] / latency["plain"],
            }
        )
    return rows
