"""Plots of a run and of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from device_app.evaluation.plots import SLANTED, draw_heat_map, draw_matrix, new_figure, plot_text, save_figure
from trainer.lifelong.tables import ranked


def draw_run(results: Mapping[str, Any], order: Sequence[str], folder: Path) -> list[Path]:
    """Draws `average-wer.png`, `cost.png`, and a heat map of R for each method, `matrix-METHOD.png`.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        StorageError: a file cannot be written.
    """
    written = [folder / "average-wer.png", folder / "cost.png"]
    _draw_averages(results, order, written[0])
    _draw_costs(results, written[1])
    domains = [*results["seen"], *results["never_trained"]]
    for method, record in results["methods"].items():
        matrix = np.mean([one["wer"] for one in record["runs"]], axis=0)
        rows = [{d: w for d, w in zip(domains, row, strict=True) if np.isfinite(w)} for row in matrix]
        written.append(folder / f"matrix-{method.replace('/', '-')}.png")
        draw_matrix(domains, ["the base", *(f"+ {domain}" for domain in order)], rows, written[-1])
    return written


def _draw_averages(results: Mapping[str, Any], order: Sequence[str], path: Path) -> None:
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    steps = ["the base", *order][-len(results["seen"]) :]  # omits the base if its domain is unknown
    for index, (method, record) in enumerate(ranked(results)):
        style = "-" if index < 10 else "--"  # matplotlib has ten colours
        axes.plot(
            range(len(steps)),
            100 * np.array(record["by_step"]),
            style,
            marker="o",
            markersize=3,
            label=plot_text(method),
        )
    axes.set_xticks(range(len(steps)), [plot_text(step) for step in steps], **SLANTED)
    axes.set(xlabel="step", ylabel="average WER over seen domains, %")
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(figure, path)


def _draw_costs(results: Mapping[str, Any], path: Path) -> None:
    figure = new_figure(8, 3.4)
    for axes, key, title in zip(
        figure.subplots(1, 2),
        ("seconds_per_domain", "stored_mb_per_domain"),
        ("seconds per domain", "MB stored per domain"),
        strict=True,
    ):
        for method, record in results["methods"].items():
            axes.plot(record[key], 100 * record["average_wer"], "o")
            axes.annotate(
                plot_text(method), (record[key], 100 * record["average_wer"]), fontsize="xx-small", rotation=20
            )
        axes.set(xlabel=title, ylabel="average WER, %")
    save_figure(figure, path)


def draw_sweep(sweep: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draws a heat map for each step of a sweep: average WER by lambda and density, with the best pair framed."""
    written = []
    for step in sweep["steps"]:
        lambdas = sorted({cell["lam"] for cell in step["cells"]})
        densities = sorted({cell["density"] for cell in step["cells"]})
        values = np.full((len(densities), len(lambdas)), np.nan)
        for cell in step["cells"]:
            values[densities.index(cell["density"]), lambdas.index(cell["lam"])] = 100 * cell["average_wer"]
        figure = new_figure(1.5 + 0.55 * len(lambdas), 1.6 + 0.4 * len(densities))
        axes = figure.subplots()
        image = draw_heat_map(axes, values, "x-small", origin="lower")
        axes.set_xticks(range(len(lambdas)), [f"{value:g}" for value in lambdas])
        axes.set_yticks(range(len(densities)), [f"{value:g}" for value in densities])
        row, column = np.unravel_index(np.nanargmin(values), values.shape)
        axes.add_patch(_frame(int(column), int(row)))
        axes.set(xlabel="lambda", ylabel="density k", title=plot_text(f"average WER after {step['domain']}, %"))
        figure.colorbar(image)
        written.append(folder / f"sweep-{step['number']}-{step['domain']}.png")
        save_figure(figure, written[-1])
    return written


def _frame(column: int, row: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, linewidth=2)
