"""From the cells of a run to its numbers, tables and pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_app.evaluation.transfer import backward_transfer
from editing.errors import BadInputError
from editing.files import write_atomically
from trainer.lifelong.config import Experiment
from trainer.lifelong.methods import find_methods
from trainer.lifelong.runner import BASE

REFERENCE = "fine-tuning"
UPPER = "separate"


def relative_reduction(wer: float, reference: float) -> float:
    """WERR: how much lower a WER is than another, as a fraction of that; negative is worse.

    Raises:
        ValueError: the reference is 0, so nothing can be lower.
    """
    if reference <= 0:
        raise ValueError("WERR against a WER of 0")
    return (reference - wer) / reference


def coverage(wer: float, fine_tuned: float, separate: float) -> float:
    """How much of the way from fine-tuning (0) to a model for each domain (1) was gone (CL-MASR's and KU Leuven's).

    Raises:
        ValueError: separate models are no better than fine-tuning, so there is no way to go.
    """
    if fine_tuned <= separate:
        raise ValueError("separate models are no better than fine-tuning")
    return (fine_tuned - wer) / (fine_tuned - separate)


class Cell:
    """What one method did with one seed.

    Attributes:
        method, seed: of the grid.
        wer: (steps + 1, domains), fractions; row 0 is the base's. NaN where it was not heard.
        seconds, stored_mb: of each step.
        peak_gb: of memory, over its steps.
    """

    def __init__(self, experiment: Experiment, out: Path, method: str, seed: int) -> None:
        """
        Raises:
            FileNotFoundError: a step is missing; the cell is not done.
        """
        folder = out / "cells" / method / f"seed-{seed}"
        paths = [folder / f"step-{number}.json" for number in range(1, len(experiment.order) + 1)]
        base, *steps = (json.loads(p.read_text("utf-8")) for p in (out / "cells" / BASE / "step-0.json", *paths))
        self.method, self.seed = method, seed
        self._experiment = experiment
        self._heard = [one["heard"] for one in (base, *steps)]
        self.seconds: list[float] = [step["seconds"] for step in steps]
        self.stored_mb: list[float] = [step["stored_mb"] for step in steps]
        self.peak_gb: float = max(step["peak_gb"] for step in steps)
        if not find_methods()[method].is_one_model:  # each domain by its own model, from when there is one
            for number in range(1, len(self._heard)):
                self._heard[number] = {**self._heard[number - 1], **self._heard[number]}
        self.wer = np.array([[_wer(heard.get(domain)) for domain in experiment.all_domains] for heard in self._heard])

    def average(self, domains: Sequence[str], step: int = -1) -> float:
        """Mean WER over domains after a step."""
        places = [self._experiment.all_domains.index(domain) for domain in domains]
        return float(self.wer[step, places].mean())

    def average_by_step(self) -> list[float]:
        """Mean WER after each step, over the domains seen by then; first the base's own, if it has one."""
        known = len(self._experiment.seen) - len(self._experiment.order)
        return [
            self.average(self._experiment.seen[: known + step], step) for step in range(1 - bool(known), len(self.wer))
        ]

    def backward_transfer(self) -> float | None:
        """BWT over the seen domains, as `device_app.evaluation.transfer`; None where there is only one."""
        seen = self._experiment.seen
        if len(seen) < 2:
            return None
        first = len(self.wer) - len(seen)  # without a domain of the base, row 0 belongs to none
        return backward_transfer(self.wer[first:, : len(seen)])

    def forward_transfer(self) -> float | None:
        """FWT over the domains learnt: what earlier steps did to each before its own; None for one domain."""
        known = len(self._experiment.seen) - len(self._experiment.order)
        gains = [self.wer[0, known + n - 1] - self.wer[n - 1, known + n - 1] for n in range(2, len(self.wer))]
        return float(np.mean(gains)) if gains else None

    def rates(self, domains: Sequence[str]) -> NDArray[np.float64]:
        """(utterances,): the WER of each utterance of these domains at the end."""
        heard = [self._heard[-1][domain] for domain in domains]
        return np.concatenate([np.divide(one["wrong"], np.maximum(1, one["words"])) for one in heard])


def _wer(heard: Mapping[str, Sequence[int]] | None) -> float:
    return sum(heard["wrong"]) / max(1, sum(heard["words"])) if heard else float("nan")


def significance(one: Cell, other: Cell, domains: Sequence[str]) -> float:
    """p of the Wilcoxon signed-rank test over utterances that both heard; 1 where all are the same."""
    from scipy.stats import wilcoxon

    difference = one.rates(domains) - other.rates(domains)
    return float(wilcoxon(difference).pvalue) if np.any(difference) else 1.0


def summarise(experiment: Experiment, out: Path) -> dict[str, Any]:
    """All numbers of a run, of the cells that are done.

    Returns:
        What `results.json` holds. Per method: means over its seeds of "average_wer" (over seen
        domains), "average_all" (and those never trained on), "bwt", "fwt"; "werr" and "coverage"
        where the reference methods were run; "p", the largest of its seeds; costs; and "runs",
        one a seed, with the matrix R.

    Raises:
        BadInputError: no cell is done yet.
    """
    cells: dict[str, dict[int, Cell]] = {}
    for method in experiment.methods:
        for seed in experiment.seeds:
            try:
                cells.setdefault(method, {})[seed] = Cell(experiment, out, method, seed)
            except FileNotFoundError:
                continue
    if not any(cells.values()):
        raise BadInputError(f"{out}: no method has come to its end yet; 'asr-edge lifelong run' goes on")
    seen, heard = experiment.seen, experiment.all_domains
    averages = {m: float(np.mean([c.average(seen) for c in runs.values()])) for m, runs in cells.items() if runs}
    methods = {}
    for method, runs in cells.items():
        if not runs:
            continue
        found = list(runs.values())
        one_model = find_methods()[method].is_one_model
        record: dict[str, Any] = {
            "average_wer": averages[method],
            "average_wer_sd": float(np.std([c.average(seen) for c in found])),
            "average_all": float(np.mean([c.average(heard) for c in found])) if one_model else None,
            "bwt": _mean([c.backward_transfer() for c in found]),
            "fwt": _mean([c.forward_transfer() for c in found]) if one_model else None,
            "by_step": np.mean([c.average_by_step() for c in found], axis=0).tolist(),
            "seconds_per_domain": float(np.mean([c.seconds for c in found])),
            "stored_mb_per_domain": float(np.mean([c.stored_mb for c in found])),
            "peak_gb": max(c.peak_gb for c in found),
            "runs": [{"seed": c.seed, "average_wer": c.average(seen), "wer": c.wer.tolist()} for c in found],
        }
        reference = cells.get(REFERENCE)
        if reference and method != REFERENCE:
            record["werr"] = relative_reduction(averages[method], averages[REFERENCE])
            both = runs.keys() & reference.keys()
            record["p"] = max((significance(runs[seed], reference[seed], seen) for seed in both), default=None)
            if one_model:
                whole = float(np.mean([c.average(heard) for c in reference.values()]))
                record["werr_all"] = relative_reduction(record["average_all"], whole)
            if UPPER in averages and averages[UPPER] < averages[REFERENCE]:
                record["coverage"] = coverage(averages[method], averages[REFERENCE], averages[UPPER])
        methods[method] = record
    base = json.loads((out / "cells" / BASE / "step-0.json").read_text("utf-8"))["heard"]
    return {
        "seen": seen,
        "never_trained": list(experiment.never_trained),
        "seeds": list(experiment.seeds),
        "base": {domain: _wer(base[domain]) for domain in heard},
        "methods": methods,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def write_results(experiment: Experiment, out: Path) -> dict[str, Any]:
    """Writes `results.json`, `results.csv` and `summary.md`; returns the first.

    Raises:
        BadInputError: no cell is done yet.
    """
    results = summarise(experiment, out)
    write_atomically(out / "results.json", (json.dumps(results, indent=1) + "\n").encode())
    write_atomically(out / "results.csv", _csv(experiment, results).encode())
    write_atomically(out / "summary.md", summary(results).encode())
    return results


def _csv(experiment: Experiment, results: Mapping[str, Any]) -> str:
    """A line for every WER: method, seed, step, the domain learnt, the domain heard, WER as a fraction."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["method", "seed", "step", "learnt", "heard", "wer"])
    for method, record in results["methods"].items():
        for one in record["runs"]:
            for step, row in enumerate(one["wer"]):
                learnt = experiment.order[step - 1] if step else ""
                for domain, wer in zip(experiment.all_domains, row, strict=True):
                    writer.writerow([method, one["seed"], step, learnt, domain, "" if np.isnan(wer) else f"{wer:.5f}"])
    return text.getvalue()


COLUMNS = (
    ("average WER", "average_wer", 100, "{:.2f}"),
    ("with never trained", "average_all", 100, "{:.2f}"),
    ("WERR", "werr", 100, "{:+.1f} %"),
    ("WERR, all", "werr_all", 100, "{:+.1f} %"),
    ("p", "p", 1, "{:.2g}"),
    ("coverage", "coverage", 1, "{:.2f}"),
    ("BWT", "bwt", 100, "{:+.2f}"),
    ("FWT", "fwt", 100, "{:+.2f}"),
    ("s a domain", "seconds_per_domain", 1, "{:.0f}"),
    ("MB a domain", "stored_mb_per_domain", 1, "{:.1f}"),
    ("peak GB", "peak_gb", 1, "{:.1f}"),
)


def ranked(results: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The methods and their records, the least average WER first."""
    return sorted(results["methods"].items(), key=lambda item: item[1]["average_wer"])


def table(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the comparison, the least average WER first."""
    rows = []
    for method, record in ranked(results):
        row = [method]
        for _, key, factor, form in COLUMNS:
            value = record.get(key)
            row.append("" if value is None else form.format(factor * value))
        rows.append(row)
    return ["method", *(title for title, *_ in COLUMNS)], rows


def summary(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    heard = [*results["seen"], *results["never_trained"]]
    head, rows = table(results)
    base = results["base"]
    lines = [
        "# Results",
        "",
        f"Seen: {', '.join(results['seen'])}. Never trained on: {', '.join(results['never_trained']) or 'none'}. "
        f"Seeds: {', '.join(map(str, results['seeds']))}. WER in per cent, `basic`, of the int8 model; average WER "
        f"over the seen domains after the last. WERR, p (Wilcoxon) and coverage are against fine-tuning.",
        "",
        *_markdown(head, rows),
        "",
        "## WER of each domain at the end",
        "",
        *_markdown(
            ["method", *heard],
            [
                ["the base", *(f"{100 * base[domain]:.1f}" for domain in heard)],
                *(
                    [name, *("" if np.isnan(w) else f"{100 * w:.1f}" for w in _last(record))]
                    for name, record in ranked(results)
                ),
            ],
        ),
        "",
    ]
    return "\n".join(lines)


def _last(record: Mapping[str, Any]) -> NDArray[np.float64]:
    """The last row of R, its mean over seeds."""
    mean: NDArray[np.float64] = np.mean([one["wer"][-1] for one in record["runs"]], axis=0)
    return mean


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]
