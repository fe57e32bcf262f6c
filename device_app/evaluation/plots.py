"""Shared functions of all plots: figures, their files, and heat maps. Needs matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_app.extras import how_to_install
from editing.errors import BadInputError, MissingDependencyError
from editing.files import write_atomically
from editing.printable import printable

FORMATS = (".png", ".svg", ".pdf")
DARK = 0.6  # the share of the range of colours from which a number is written in white
SLANTED: Mapping[str, Any] = {"rotation": 20, "ha": "right"}  # tick labels of an x axis


def new_figure(width: float, height: float) -> Any:
    """Creates a matplotlib figure; width and height are in inches.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # not pyplot, which has global state and may open a window
    except ImportError as error:
        raise MissingDependencyError(f"plots need matplotlib: {how_to_install('plots')}") from error
    return Figure(figsize=(width, height), layout="constrained")


def check_picture(path: Path) -> None:
    """Checks the extension of a plot's file, so that a plot does not replace a file of another kind.

    Raises:
        BadInputError: the file name does not have the extension of an image.
    """
    if path.suffix.lower() not in FORMATS:
        raise BadInputError(f"{path}: is not the name of an image file ({', '.join(FORMATS)}); nothing was changed")


def plot_text(text: str) -> str:
    """A name from data as matplotlib draws it literally: no control characters, and no formulas between dollars."""
    return printable(text).replace("$", r"\$")


def save_figure(figure: Any, path: Path) -> None:
    """Writes a figure atomically, in the format of the file's extension.

    Raises:
        StorageError: the file cannot be written.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lower().removeprefix(".") or "png", dpi=120)
    write_atomically(path, buffer.getvalue())


def draw_heat_map(axes: Any, values: NDArray[np.float64], fontsize: str, **options: Any) -> Any:
    """Draws values (rows, columns) as a heat map, high values dark, with the number in each cell.

    The colours differ in brightness only, so that the map is readable in grey and by colour-blind people.

    Args:
        axes: matplotlib axes.
        values: percentages; NaN leaves a cell empty.
        fontsize: font size of the numbers, as in matplotlib.
        options: options of matplotlib's `imshow`.

    Returns:
        The image, for a colour bar.
    """
    image = axes.imshow(values, cmap="Oranges", aspect="auto", **options)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if image.norm(value) > DARK else "black"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=fontsize, color=colour)
    return image


def draw_matrix(
    domains: Sequence[str], versions: Sequence[str], wer: Sequence[Mapping[str, float]], path: Path
) -> None:
    """Draws the WER of each domain (columns) with each version (rows) as a heat map, in percent.

    Args:
        domains: names of the columns.
        versions: names of the rows.
        wer: the WER by domain of each version, as fractions; a domain that is missing leaves its cell empty.
        path: the file of the image.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        StorageError: the file cannot be written.
    """
    values = np.array([[100 * row.get(domain, np.nan) for domain in domains] for row in wer])
    figure = new_figure(1.6 + 1.1 * len(domains), 1.4 + 0.5 * len(versions))
    axes = figure.subplots()
    image = draw_heat_map(axes, values, "small", vmin=0)
    axes.set_xticks(range(len(domains)), [plot_text(name) for name in domains], **SLANTED)
    axes.set_yticks(range(len(versions)), [plot_text(version) for version in versions])
    figure.colorbar(image, label="WER in %")
    save_figure(figure, path)
