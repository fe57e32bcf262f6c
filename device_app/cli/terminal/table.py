"""Tables as plain columns on standard output."""

from __future__ import annotations

from collections.abc import Container, Sequence

from device_app.cli.printing import echo
from editing.printable import printable


def print_table(rows: Sequence[Sequence[object]], right: Container[int]) -> None:
    """Prints rows, the header first; aligns the columns with indices in `right` to the right."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]  # before their widths are measured
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        echo("  ".join(padded).rstrip())
