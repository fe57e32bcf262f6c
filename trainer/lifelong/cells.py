"""The results of one method with one seed, read from a run's folder, and their metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_app.evaluation.transfer import backward_transfer
from trainer.lifelong.config import Experiment
from trainer.lifelong.methods import find_methods
from trainer.lifelong.metrics import WordErrors, wer
from trainer.lifelong.run_folder import RunFolder, damaged, read_scores

COSTS = ("seconds", "stored_mb", "peak_gb")  # of a step


def read_step(experiment: Experiment, folder: RunFolder, method: str, seed: int, number: int) -> dict[str, Any]:
    """Reads the scores and costs of a step, numbered from 1.

    Raises:
        FileNotFoundError: the step is not finished.
        BadInputError: the file is damaged.
    """
    scored = experiment.all_domains if find_methods()[method].is_one_model else [experiment.order[number - 1]]
    path, cell = folder.step(method, seed, number), folder.cell(method, seed)
    record = read_scores(path, scored, COSTS, delete=cell)
    base = read_scores(folder.base_scores, experiment.all_domains)["errors"]
    for domain in scored:
        if len(record["errors"][domain]["words"]) != len(base[domain]["words"]):
            files = f"{folder.base_scores} and {cell}"
            raise damaged(path, f"{domain} has another number of utterances than in {folder.base_scores}", files)
    return record


class Cell:
    """The results of one cell of the grid: one method with one seed.

    Attributes:
        method, seed: the cell.
        wer: (steps + 1, domains), fractions; row 0 is the base's. NaN where not measured.
        seconds, stored_mb: the costs of each step.
        peak_gb: the peak memory over all steps.
    """

    def __init__(self, experiment: Experiment, folder: RunFolder, method: str, seed: int) -> None:
        """
        Raises:
            FileNotFoundError: the cell is not finished.
            BadInputError: a file of it is damaged.
        """
        base = read_scores(folder.base_scores, experiment.all_domains)
        numbers = range(1, len(experiment.order) + 1)
        steps = [read_step(experiment, folder, method, seed, number) for number in numbers]
        self.method, self.seed = method, seed
        self._experiment = experiment
        self._errors: list[dict[str, WordErrors]] = [one["errors"] for one in (base, *steps)]
        self.seconds: list[float] = [step["seconds"] for step in steps]
        self.stored_mb: list[float] = [step["stored_mb"] for step in steps]
        self.peak_gb: float = max(step["peak_gb"] for step in steps)
        if not find_methods()[method].is_one_model:  # each domain keeps the errors of its own model
            for number in range(1, len(self._errors)):
                self._errors[number] = {**self._errors[number - 1], **self._errors[number]}
        self.wer = np.array([[wer(errors.get(domain)) for domain in experiment.all_domains] for errors in self._errors])

    def average(self, domains: Sequence[str], step: int = -1) -> float:
        """The mean WER over domains after a step."""
        columns = [self._experiment.all_domains.index(domain) for domain in domains]
        return float(self.wer[step, columns].mean())

    def average_by_step(self) -> list[float]:
        """The mean WER over the domains seen so far, after each step; first the base's, if its domain is known."""
        seen = [self._experiment.seen_after(step) for step in range(len(self.wer))]
        return [self.average(domains, step) for step, domains in enumerate(seen) if domains]

    def backward_transfer(self) -> float | None:
        """BWT over the seen domains (see `device_app.evaluation.transfer`); None for a single domain."""
        seen = self._experiment.seen
        if len(seen) < 2:
            return None
        first = len(self.wer) - len(seen)  # without a base domain, row 0 belongs to no domain
        return backward_transfer(self.wer[first:, : len(seen)])

    def forward_transfer(self) -> float | None:
        """FWT: how much earlier steps lowered each domain's WER before its own step; None for a single domain."""
        gains = []
        for step in range(2, len(self.wer)):
            column = len(self._experiment.seen_after(step)) - 1  # of the step's own domain
            gains.append(self.wer[0, column] - self.wer[step - 1, column])
        return float(np.mean(gains)) if gains else None

    def rates(self, domains: Sequence[str]) -> NDArray[np.float64]:
        """(utterances,): the WER of each utterance of these domains after the last step."""
        errors = [self._errors[-1][domain] for domain in domains]
        return np.concatenate([np.divide(one["wrong"], np.maximum(1, one["words"])) for one in errors])
