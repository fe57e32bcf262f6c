"""Lambda and density, every pair of them, from one fine-tuning a step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from editing.files import write_atomically
from editing.registry import METHODS, Tensors
from editing.task_vector import apply
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
        tuned = work.fine_tuner(work.experiment.seeds[0] * 1000 + number)(theta, work.examples(domain))
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
