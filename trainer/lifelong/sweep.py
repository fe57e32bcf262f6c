"""A grid search over lambda and density with one fine-tuning per step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from editing.errors import BadInputError
from editing.files import write_atomically
from editing.former_names import CELL
from editing.json_text import is_number, is_scores
from editing.method import Tensors
from editing.methods import METHODS
from editing.task_vector import apply
from export.weights import write_weights
from trainer.lifelong.config import Experiment, step_seed
from trainer.lifelong.metrics import wer
from trainer.lifelong.preparation import load_domains
from trainer.lifelong.run_folder import damaged, open_run_folder, read_record, read_stored_weights
from trainer.lifelong.runner import Report, Run

LAMBDAS = tuple(round(0.1 * n, 1) for n in range(1, 10))
DENSITIES = LAMBDAS
# The weights from which the next step starts are merged with the settings of the paper (arXiv 2406.17935).
NEXT_STEP_SETTINGS = {"lam": 0.6, "density": 0.5}
COSTS = ("tuning_s", "merging_s", "recognition_s")  # of a step, in seconds


def sweep(
    experiment: Experiment,
    out: Path,
    report: Report,
    *,
    lambdas: Sequence[float] = LAMBDAS,
    densities: Sequence[float] = DENSITIES,
    utterances: int | None = 20,
    threads: int | None = None,
    on_done: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Fine-tunes once per step, merges with TIES for every lambda and density, and scores the domains seen so far.

    A killed sweep resumes; scored pairs are not scored again.

    Args:
        experiment: its base, order, manifests, fine-tuning settings and first seed are used.
        out: the folder for the results.
        report: receives progress messages.
        lambdas, densities: the grid.
        utterances: of each test split, only the first so many are used; None for all.
        threads: for the recogniser.
        on_done: called after each pair.

    Returns:
        The content of `sweep.json`: "steps", each with its "cells" (lambda, density, WER by domain,
        average), the "best" cell, and the seconds of fine-tuning, merging and scoring.

    Raises:
        BadInputError, BadAudioError, TrainingError: as for `trainer.lifelong.runner.run`.
    """
    domains = load_domains(experiment)
    if utterances is not None:
        domains = {name: replace(one, test=one.test[:utterances]) for name, one in domains.items()}
    conditions = {"utterances": utterances, "seed": experiment.seeds[0]}
    with open_run_folder(replace(experiment, methods=()), out):
        grid = _Grid(Run(experiment, domains, out, threads), lambdas, densities, on_done)
        theta: Tensors = grid.run.base
        steps = []
        for number, domain in enumerate(experiment.order, 1):
            step = _Step(number, domain, out / "sweep" / f"step-{number}.json", conditions)
            tuned = _finetuned_weights(grid.run, step, theta, report)
            vector = {name: tuned[name] - theta[name] for name in theta}
            grid.score(step, theta, vector)
            costs_and_cells = {name: one for name, one in step.record.items() if name not in conditions}
            steps.append({**costs_and_cells, "best": step.best()})
            theta = apply(theta, METHODS["ties"]([vector], **NEXT_STEP_SETTINGS))
    result = {"lambdas": list(lambdas), "densities": list(densities), "utterances": utterances, "steps": steps}
    write_atomically(out / "sweep.json", (json.dumps(result, indent=1) + "\n").encode())
    return result


class _Step:
    """The record of a step, stored in a file: costs, and a cell for each scored pair.

    Attributes:
        number, domain: of the step; the numbers count from 1.
        path: the file.
        record: its content; without costs until the fine-tuning is done.
    """

    def __init__(self, number: int, domain: str, path: Path, conditions: Mapping[str, int | None]) -> None:
        """
        Args:
            number, domain: of the step; the numbers count from 1.
            path: the file.
            conditions: under which its cells are scored, by name; the file keeps them.

        Raises:
            BadInputError: the file is damaged, or of a step with other conditions.
        """
        self.number, self.domain, self.path = number, domain, path
        self.record: dict[str, Any] = {"number": number, "domain": domain, "cells": []}
        if path.is_file():
            self.record = read_record(path, ("number", "domain", "cells"), CELL, path.parent, COSTS)
            if not isinstance(self.record["cells"], list) or not all(map(_is_cell, self.record["cells"])):
                raise damaged(path, "expected a list of cells", path.parent)
        for name, value in conditions.items():
            before = self.record.get(name, value)  # former versions did not store it
            if before != value:
                raise BadInputError(
                    f"{path}: of a sweep with {name} {before}, not {value}; name another folder with --out"
                )
        self.record.update(conditions)

    def save(self) -> None:
        write_atomically(self.path, json.dumps(self.record).encode())

    def done(self) -> set[tuple[float, float]]:
        """The scored pairs of lambda and density."""
        return {(cell["lam"], cell["density"]) for cell in self.record["cells"]}

    def best(self) -> Mapping[str, Any]:
        best: Mapping[str, Any] = min(
            self.record["cells"], key=lambda cell: (cell["average_wer"], cell["lam"], cell["density"])
        )
        return best


def _is_cell(one: object) -> bool:
    """Whether a JSON value is a scored pair of a step."""
    if not isinstance(one, dict):
        return False
    are_numbers = all(is_number(one.get(name)) for name in ("lam", "density", "average_wer"))
    return are_numbers and is_scores(one.get("wer"))


def _finetuned_weights(run: Run, step: _Step, theta: Tensors, report: Report) -> Tensors:
    """Fine-tunes for a step and stores the weights in a file, or reads that file."""
    path = step.path.with_suffix(".safetensors")
    if path.is_file() and "tuning_s" in step.record:
        return read_stored_weights(path, delete=path.parent)
    report(f"fine-tuning on {step.domain} ({step.number} of {len(run.experiment.order)})")
    began = time.perf_counter()
    fine_tuner = run.fine_tuner(step.domain, step_seed(run.experiment.seeds[0], step.number), is_shared=False)
    tuned = fine_tuner(theta, run.examples.of(step.domain))
    step.record |= dict.fromkeys(COSTS, 0.0) | {"tuning_s": time.perf_counter() - began}
    path.parent.mkdir(parents=True, exist_ok=True)
    step.save()  # first: a kill in between only repeats the fine-tuning
    write_weights(path, dict(tuned))
    return tuned


@dataclass(frozen=True)
class _Grid:
    """Scores the grid of lambda and density.

    Attributes:
        run: its experiment and scorer are used.
        lambdas, densities: the grid.
        on_done: called after every pair.
    """

    run: Run
    lambdas: Sequence[float]
    densities: Sequence[float]
    on_done: Callable[[], None]

    def score(self, step: _Step, theta: Tensors, vector: Tensors) -> None:
        """Merges a step's task vector with every unscored pair, and scores the domains seen so far."""
        experiment = self.run.experiment
        seen = experiment.seen_after(step.number)
        done = step.done()
        for density in self.densities:
            missing = [lam for lam in self.lambdas if (lam, density) not in done]
            if not missing:
                continue
            began = time.perf_counter()
            trimmed = METHODS["ties"]([vector], lam=1.0, density=density)  # once for all lambdas
            step.record["merging_s"] += time.perf_counter() - began
            for lam in missing:
                began = time.perf_counter()
                scaled = {name: np.float32(lam) * tensor for name, tensor in trimmed.items()}
                weights = apply(theta, scaled, out=scaled)
                merged_at = time.perf_counter()
                errors = self.run.scorer.score(weights, seen)
                step.record["merging_s"] += merged_at - began
                step.record["recognition_s"] += time.perf_counter() - merged_at
                rates = {name: wer(one) for name, one in errors.items()}
                average = float(np.mean(list(rates.values())))
                step.record["cells"].append({"lam": lam, "density": density, "wer": rates, "average_wer": average})
                step.save()
                self.on_done()
