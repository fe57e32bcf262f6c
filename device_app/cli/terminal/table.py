"""Tables as plain columns on standard output."""

from __future__ import annotations

from collections.abc import Container, Sequence

import typer


def print_table(rows: Sequence[Sequence[object]], right: Container[int]) -> None:
    """Prints rows, the header first; aligns the columns with indices in `right` to the right."""
    cells = [list(map(str, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        typer.echo("  ".join(padded).rstrip())
