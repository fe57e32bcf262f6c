"""Summarises the cells of a run and writes its result files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from editing.errors import BadInputError
from editing.files import write_atomically
from editing.former_names import CELL
from editing.json_text import without_nan
from trainer.lifelong.cells import Cell
from trainer.lifelong.config import Experiment
from trainer.lifelong.methods import find_methods
from trainer.lifelong.methods.references import REFERENCE
from trainer.lifelong.metrics import coverage, relative_reduction, significance, wer
from trainer.lifelong.run_folder import RunFolder, read_record
from trainer.lifelong.tables import csv_of, summary

UPPER_BOUND = "separate"  # the method of `trainer.lifelong.methods.references` at which coverage is 1

Cells = Mapping[str, Mapping[int, Cell]]  # by method and seed; each method has at least one cell


def write_results(experiment: Experiment, out: Path) -> dict[str, Any]:
    """Writes `results.json`, `results.csv` and `summary.md`; returns the content of `results.json`.

    Where that is NaN because a WER was not measured, the file has null.

    Raises:
        BadInputError: no cell is finished.
    """
    results = summarise(experiment, out)
    write_atomically(
        out / "results.json", (json.dumps(without_nan(results), indent=1, allow_nan=False) + "\n").encode()
    )
    write_atomically(out / "results.csv", csv_of(experiment, results).encode())
    write_atomically(out / "summary.md", summary(results).encode())
    return results


def summarise(experiment: Experiment, out: Path) -> dict[str, Any]:
    """Computes the metrics of all finished cells of a run.

    Returns:
        The content of `results.json`. Per method: means over seeds of "average_wer" (over seen
        domains), "average_all" (including domains never trained on), "bwt" and "fwt"; "werr" and
        "coverage" if the reference methods were run; "p", the largest over seeds; costs; and "runs",
        one per seed, with the matrix R.

    Raises:
        BadInputError: no cell is finished.
    """
    folder = RunFolder(out)
    cells = _finished_cells(experiment, folder)
    if not cells:
        raise BadInputError(f"{out}: no method has finished yet; 'asr-edge lifelong run' continues the run")
    base = read_record(folder.base_scores, ("errors",), CELL)["errors"]
    return {
        "seen": experiment.seen,
        "never_trained": list(experiment.never_trained),
        "seeds": list(experiment.seeds),
        "base": {domain: wer(base[domain]) for domain in experiment.all_domains},
        "methods": {
            method: {
                **_metrics(experiment, method, list(cells[method].values())),
                **_comparison(experiment, method, cells),
            }
            for method in cells
        },
    }


def _finished_cells(experiment: Experiment, folder: RunFolder) -> Cells:
    cells: dict[str, dict[int, Cell]] = {}
    for method in experiment.methods:
        for seed in experiment.seeds:
            try:
                cell = Cell(experiment, folder, method, seed)
            except FileNotFoundError:
                continue
            cells.setdefault(method, {})[seed] = cell
    return cells


def _metrics(experiment: Experiment, method: str, cells: Sequence[Cell]) -> dict[str, Any]:
    """The metrics and costs of a method over its seeds."""
    seen, everything = experiment.seen, experiment.all_domains
    one_model = find_methods()[method].is_one_model
    return {
        "average_wer": _average(cells, seen),
        "average_wer_sd": float(np.std([cell.average(seen) for cell in cells])),
        "average_all": _average(cells, everything) if one_model else None,
        "bwt": _mean([cell.backward_transfer() for cell in cells]),
        "fwt": _mean([cell.forward_transfer() for cell in cells]) if one_model else None,
        "by_step": np.mean([cell.average_by_step() for cell in cells], axis=0).tolist(),
        "seconds_per_domain": float(np.mean([cell.seconds for cell in cells])),
        "stored_mb_per_domain": float(np.mean([cell.stored_mb for cell in cells])),
        "peak_gb": max(cell.peak_gb for cell in cells),
        "runs": [{"seed": cell.seed, "average_wer": cell.average(seen), "wer": cell.wer.tolist()} for cell in cells],
    }


def _comparison(experiment: Experiment, method: str, cells: Cells) -> dict[str, Any]:
    """The metrics of a method relative to the reference methods that are finished."""
    if method == REFERENCE or REFERENCE not in cells:
        return {}
    seen = experiment.seen
    own, reference = cells[method], cells[REFERENCE]
    average, fine_tuned = (_average(list(runs.values()), seen) for runs in (own, reference))
    p_values = [significance(own[seed].rates(seen), reference[seed].rates(seen)) for seed in own.keys() & reference]
    record: dict[str, Any] = {
        "werr": relative_reduction(average, fine_tuned),
        "p": max(p_values, default=None),
    }
    if find_methods()[method].is_one_model:
        everywhere = (_average(list(runs.values()), experiment.all_domains) for runs in (own, reference))
        record["werr_all"] = relative_reduction(*everywhere)
    if UPPER_BOUND in cells:
        separate = _average(list(cells[UPPER_BOUND].values()), seen)
        if separate < fine_tuned:
            record["coverage"] = coverage(average, fine_tuned, separate)
    return record


def _average(cells: Sequence[Cell], domains: Sequence[str]) -> float:
    """The mean of the cells' average WERs."""
    return float(np.mean([cell.average(domains) for cell in cells]))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
