"""The plot of a sweep over lambda and density."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from device_app.evaluation.plots import new_figure, plot_text, save_figure

if TYPE_CHECKING:
    from device_app.adaptation.sweep import Candidate


def draw_frontier(candidates: Sequence[Candidate], domain: str, path: Path) -> None:
    """Plots WER over lambda, with one line per density and one panel per domain.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        StorageError: the file cannot be written.
    """
    figure = new_figure(3.2 * len(candidates[0].changes), 3.2)
    names = [domain, *(name for name in candidates[0].changes if name != domain)]
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for density in dict.fromkeys(one.density for one in candidates):
            of_density = [one for one in candidates if one.density == density]
            before = 100 * of_density[0].changes[name].before
            axes.plot(
                [0, *(one.lam for one in of_density)],
                [before, *(100 * one.changes[name].after for one in of_density)],
                marker="o",
                label=f"density {density:g}",
            )
        axes.set(
            title=plot_text(name if name != domain else f"{name} (new)"),
            xlabel="lambda",
            ylabel="WER in %",
            ylim=(0, None),
        )
        axes.legend(fontsize="small")
    save_figure(figure, path)
