"""The results of a lifelong experiment as CSV, as a table and as Markdown.

All functions take the record that `trainer.lifelong.results.summarise` returns.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.lifelong.config import Experiment

UNDEFINED = "\N{EN DASH}"  # a figure that is undefined or was not measured

# The title of a column, the key in a method's record, the factor from the stored to the shown unit, and the format.
# BWT and FWT are backward and forward transfer; `trainer.lifelong.results` defines all figures.
COLUMNS = (
    ("average WER", "average_wer", 100, "{:.2f}"),
    ("with never trained", "average_all", 100, "{:.2f}"),
    ("WERR", "werr", 100, "{:+.1f} %"),
    ("WERR, all", "werr_all", 100, "{:+.1f} %"),
    ("p", "p", 1, "{:.2g}"),
    ("coverage", "coverage", 1, "{:.2f}"),
    ("BWT", "bwt", 100, "{:+.2f}"),
    ("FWT", "fwt", 100, "{:+.2f}"),
    ("s per domain", "seconds_per_domain", 1, "{:.0f}"),
    ("MB per domain", "stored_mb_per_domain", 1, "{:.1f}"),
    ("peak GB", "peak_gb", 1, "{:.1f}"),
)


def csv_of(experiment: Experiment, results: Mapping[str, Any]) -> str:
    """One line per WER: method, seed, step, the domain of the step, the tested domain, WER as a fraction.

    Step 0 is the base model; its domain is empty. The WER is empty where it was not measured.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["method", "seed", "step", "trained", "domain", "wer"])
    for method, record in results["methods"].items():
        for run in record["runs"]:
            for step, row in enumerate(run["wer"]):
                trained = experiment.order[step - 1] if step else ""
                for domain, wer in zip(experiment.all_domains, row, strict=True):
                    writer.writerow([method, run["seed"], step, trained, domain, "" if np.isnan(wer) else f"{wer:.5f}"])
    return text.getvalue()


def ranked(results: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The methods and their records, by increasing average WER."""
    return sorted(results["methods"].items(), key=lambda item: item[1]["average_wer"])


def table(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the comparison of methods, by increasing average WER."""
    rows = []
    for method, record in ranked(results):
        row = [method]
        for _, key, factor, template in COLUMNS:
            value = record.get(key)
            row.append(UNDEFINED if value is None else template.format(factor * value))
        rows.append(row)
    return ["method", *(title for title, *_ in COLUMNS)], rows


def summary(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    domains = [*results["seen"], *results["never_trained"]]
    head, rows = table(results)
    base = results["base"]
    lines = [
        "# Results",
        "",
        f"Seen: {', '.join(results['seen'])}. Never trained on: {', '.join(results['never_trained']) or 'none'}. "
        f"Seeds: {', '.join(map(str, results['seeds']))}. WER in per cent of the int8 model, of texts in "
        f"lower case without punctuation (`basic`). Average WER: over the seen domains, after the last one. "
        f"WERR (relative reduction of WER), p (Wilcoxon) and coverage are relative to fine-tuning.",
        "",
        *_markdown(head, rows),
        "",
        "## WER of each domain at the end",
        "",
        *_markdown(
            ["method", *domains],
            [
                ["the base", *(f"{100 * base[domain]:.1f}" for domain in domains)],
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
    """The WER of each domain after the last step, averaged over seeds."""
    mean: NDArray[np.float64] = np.mean([run["wer"][-1] for run in record["runs"]], axis=0)
    return mean


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]
