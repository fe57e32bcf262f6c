"""A line chart with intervals as SVG. Lines differ by dash and marker as well as by colour, so grey shows them too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from device_app.adaptation.report.measure import Estimate

WIDTH, HEIGHT = 720, 360  # units of the drawing, which scales to the width of the page
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 16, 40
SPREAD = 7.0  # units between the points of two lines at one version, so that their intervals do not cover each other
TICKS = 5  # intervals of the axis
MAX_NAMES = 5  # names of versions below the axis, which have room on a phone
MAX_NAME_LENGTH = 12  # characters of such a name
# Okabe & Ito's palette, which colour-blind people can tell apart (https://jfly.uni-koeln.de/color/)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
REFERENCE_COLOUR = "#767676"
DASHES = ("none", "9 4", "2 3", "9 3 2 3")
TITLE = "Words wrong, in percent, after each edit"


@dataclass(frozen=True)
class Line:
    """One line of the chart: a name for the legend, and an estimate for each version.

    `is_reference` draws it in grey.
    """

    name: str
    estimates: Sequence[Estimate]
    is_reference: bool = False


@dataclass(frozen=True)
class Scale:
    """Positions in the drawing: x by the index of a version, y by WER (a fraction); the axis ends at `top` percent."""

    versions: int
    top: float

    def x(self, version: int) -> float:
        inside = WIDTH - LEFT - RIGHT
        return LEFT + inside * (version + 0.5) / self.versions

    def y(self, fraction: float) -> float:
        return HEIGHT - BOTTOM - 100 * fraction / self.top * (HEIGHT - TOP - BOTTOM)


def line_chart(lines: Sequence[Line], names: Sequence[str]) -> str:
    """Draws WER in percent over versions, with a 95 % interval at each point, and a legend.

    Args:
        lines: at least one, with an estimate for each name.
        names: the names of the versions, from left to right.
    """
    scale = Scale(len(names), _end_of_axis(max(100 * one.high for line in lines for one in line.estimates)))
    drawn = [_line(line, index, SPREAD * (index - (len(lines) - 1) / 2), scale) for index, line in enumerate(lines)]
    legend = "".join(f"<li>{_sample(line, index)}{escape(line.name)}</li>" for index, line in enumerate(lines))
    content = _axes(scale, names) + "".join(drawn)
    drawing = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{TITLE}">{content}</svg>'
    return f"{drawing}<ul class=legend>{legend}</ul>"


def _end_of_axis(percent: float) -> float:
    """The end of the axis in percent: a round number that is not below the largest value."""
    return next((end for end in (5.0, 10.0, 20.0, 25.0, 50.0, 100.0) if percent <= end), 50 * -(-percent // 50))


def _axes(scale: Scale, names: Sequence[str]) -> str:
    parts = []
    for tick in range(TICKS + 1):
        value = scale.top * tick / TICKS
        y = scale.y(value / 100)
        parts.append(f'<line class=grid x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g} %</text>')
    every = -(-len(names) // MAX_NAMES)  # names every version, every second one ...
    for version in range(0, len(names), every):
        name = names[version]
        shown = name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}\N{HORIZONTAL ELLIPSIS}"
        position = f'x="{scale.x(version):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle"'
        parts.append(f"<text {position}>{escape(shown)}</text>")
    return "".join(parts)


def _line(line: Line, index: int, offset: float, scale: Scale) -> str:
    """A line with its markers and intervals; `index` chooses its style, and `offset` moves it to the right."""
    points = [(scale.x(version) + offset, scale.y(one.wer)) for version, one in enumerate(line.estimates)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = [f'<polyline points="{path}" {_stroke(line, index)}/>']
    for (x, y), one in zip(points, line.estimates, strict=True):
        low, high = scale.y(one.low), scale.y(one.high)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{_colour(line, index)}"/>'
        )
        parts.append(_marker(line, index, x, y))
    return "".join(parts)


def _colour(line: Line, index: int) -> str:
    return REFERENCE_COLOUR if line.is_reference else COLOURS[index % len(COLOURS)]


def _stroke(line: Line, index: int) -> str:
    dash = DASHES[index % len(DASHES)]
    return f'fill="none" stroke="{_colour(line, index)}" stroke-width="2" stroke-dasharray="{dash}"'


def _marker(line: Line, index: int, x: float, y: float) -> str:
    fill = f'fill="{_colour(line, index)}"'
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" {fill}/>',
        f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" {fill}/>',
        f'<path d="M{x:.1f} {y - 5.5:.1f}l5.5 9.5h-11z" {fill}/>',
        f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6-6z" {fill}/>',
    )
    return shapes[index % len(shapes)]


def _sample(line: Line, index: int) -> str:
    """A short line in the style of this one, for the legend."""
    stroke = f'<line x1="0" x2="36" y1="8" y2="8" {_stroke(line, index)}/>'
    return f'<svg class=sample viewBox="0 0 36 16" aria-hidden="true">{stroke}{_marker(line, index, 18, 8)}</svg>'
