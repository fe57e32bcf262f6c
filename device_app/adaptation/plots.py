"""Pictures, where matplotlib is installed: the frontier of a sweep, and the matrix of a report."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_app.data.store import CANARY
from editing.errors import BadInputError, MissingDependencyError
from editing.files import write_atomically

if TYPE_CHECKING:
    from device_app.adaptation.sweep import Candidate

FORMATS = (".png", ".svg", ".pdf")
SLANTED: Mapping[str, Any] = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"}  # names below an axis


def draw_frontier(candidates: Sequence[Candidate], domain: str, path: Path) -> None:
    """WER against lambda, a line for each density and a panel for each domain.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        StorageError: the file cannot be written.
    """
    figure = figure_of(3.2 * len(candidates[0].changes), 3.2)
    names = [domain, *(name for name in candidates[0].changes if name != domain)]
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for density in dict.fromkeys(one.density for one in candidates):
            line = [one for one in candidates if one.density == density]
            before = 100 * line[0].changes[name].before
            axes.plot(
                [0, *(one.lam for one in line)],
                [before, *(100 * one.changes[name].after for one in line)],
                marker="o",
                label=f"density {density:g}",
            )
        axes.set(title=name if name != domain else f"{name} (new)", xlabel="lambda", ylabel="WER in %", ylim=(0, None))
        axes.legend(fontsize="small")
    save(figure, path)


def draw_matrix(
    domains: Sequence[str], versions: Sequence[str], wer: Sequence[Mapping[str, float]], path: Path
) -> None:
    """WER of each domain (columns) after each version (rows), as a heat map.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        StorageError: the file cannot be written.
    """
    import numpy as np

    values = np.array([[100 * row.get(domain, np.nan) for domain in domains] for row in wer])
    figure = figure_of(1.6 + 1.1 * len(domains), 1.4 + 0.5 * len(versions))
    axes = figure.subplots()
    shown = axes.imshow(values, cmap="RdYlGn_r", vmin=0, aspect="auto")
    axes.set_xticks(range(len(domains)), [name if name != CANARY else "general speech" for name in domains], **SLANTED)
    axes.set_yticks(range(len(versions)), versions)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize="small")
    figure.colorbar(shown, label="WER in %")
    save(figure, path)


def check_picture(path: Path) -> None:
    """Call it before any work: a picture must not replace a file of another kind.

    Raises:
        BadInputError: the name has the ending of no picture.
    """
    if path.suffix.lower() not in FORMATS:
        raise BadInputError(f"{path}: is not the name of a picture ({', '.join(FORMATS)}); nothing was changed")


def figure_of(width: float, height: float) -> Any:
    """A figure of so many inches.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # without pyplot: no window, no global state
    except ImportError as error:
        raise MissingDependencyError("pictures need matplotlib: pip install 'asr-edge[plots]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Any, path: Path) -> None:
    """Writes a figure in one step, as what the file's name ends with.

    Raises:
        StorageError: the file cannot be written.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lower().removeprefix(".") or "png", dpi=120)
    write_atomically(path, buffer.getvalue())
