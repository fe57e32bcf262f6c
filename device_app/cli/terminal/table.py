"""Tables as plain columns on standard output."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Container, Sequence

from device_app.cli.printing import echo
from editing.printable import printable

GAP = "  "  # between columns


def print_table(rows: Sequence[Sequence[object]], right: Container[int]) -> None:
    """Prints rows, the header first; aligns the columns with indices in `right` to the right.

    On a terminal that is too narrow, each row becomes a paragraph with one line per column.
    """
    cells = [[printable(str(cell)) for cell in row] for row in rows]  # before their widths are measured
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    total = sum(widths) + len(GAP) * (len(widths) - 1)
    if len(cells) > 1 and sys.stdout.isatty() and total > shutil.get_terminal_size().columns:
        _print_paragraphs(cells[0], cells[1:])
        return
    for row in cells:
        padded = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        echo(GAP.join(padded).rstrip())


def _print_paragraphs(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    width = max(map(len, header))
    for index, row in enumerate(rows):
        if index:
            echo()
        for name, cell in zip(header, row, strict=True):
            if cell:
                echo(f"{name.ljust(width)}{GAP}{cell}", hanging=width + len(GAP))
