"""CSV and TSV tables of corpora."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from device_app.data.text_files import BYTE_ORDER_MARK, read_text, with_line_feeds
from editing.errors import BadInputError, counted, one_line

OPEN_QUOTE = "is its quotation mark never closed?"
NO_TAB = "replace each tab in a text by a space"


class TabSeparated(csv.excel_tab):
    """Common Voice's tables: sentences contain quotation marks, which are not escaped."""

    quoting = csv.QUOTE_NONE


class Row(dict[str, str]):
    """The cells of a row by column.

    Attributes:
        location: file and line, for error messages.
    """

    def __init__(self, head: Sequence[str], cells: Sequence[str], location: str) -> None:
        super().__init__(zip(head, cells, strict=False))
        self.location = location


def read_table(
    path: Path, columns: Sequence[str], dialect: type[csv.Dialect], optional: Sequence[str] = ()
) -> Iterator[Row]:
    """Reads the rows of a table whose first line names the columns. Cells may contain line breaks.

    Names of columns may be in upper or lower case; those of `Row` are in lower case.

    Args:
        path: the table.
        columns: those that every row must have; in a table with quotation marks, the first one names the recording.
        dialect: how cells are separated and quoted.
        optional: other columns that the caller reads.

    Raises:
        BadInputError: the table cannot be read, lacks a column, or has one twice; a row has too few or too many cells,
            or a quotation mark that is not closed. The message names the line in which the row begins. After the last
            row: a text of several lines names a recording that no row has, or any one in a table with offsets.
    """
    # Only LF and CRLF end a line: U+2028 and the like belong to the text.
    text = re.sub(r"\r(?!\n)", " ", with_line_feeds(read_text(path)))
    rows = _rows(path, csv.reader(io.StringIO(text, newline="\n"), dialect, strict=True))
    _, head = next(rows, ("", []))
    if not head:
        raise BadInputError(f"{path}: the file is empty")
    head = [name.removeprefix(BYTE_ORDER_MARK).strip() for name in head]
    having = one_line(", ".join(head))
    head = [name.lower() for name in head]
    for column in (*columns, *optional):
        if column in columns and column not in head:
            remedy = "; put commas between the cells" if dialect.delimiter == "," and ";" in having else ""
            raise BadInputError(f"{path}: the column {column} is missing (there are {having}){remedy}")
        if head.count(column) > 1:
            raise BadInputError(f"{path}: the column {column} occurs twice; rename or delete one (there are {having})")
    is_quoted = dialect.quoting != csv.QUOTE_NONE  # otherwise, no cell has several lines
    recordings: set[str] = set()
    swallowed: list[tuple[str, str]] = []  # rows and the recordings that a text of several lines in them names
    for location, cells in rows:
        surplus = cells[len(head) :]
        # A separator in a text moves the cells after it. So even an empty cell too many shows that, unless there are
        # only two columns: then it follows the text.
        if surplus and (len(head) > 2 or any(cell.strip() for cell in surplus)):
            raise BadInputError(
                f"{location}: has {counted(len(cells), 'cell')}, but the table has {counted(len(head), 'column')}; "
                + ("put quotation marks around a text that contains the separator" if is_quoted else NO_TAB)
            )
        row = Row(head, cells, location)
        if any(column not in row for column in columns):
            raise BadInputError(f"{location}: has too few columns")
        if is_quoted:
            own = Path(row[columns[0]].strip())
            recordings |= {str(own), own.name}
            swallowed += [(location, name) for name in _swallowed(cells, own.suffix.lower(), path.parent)]
        yield row
    for location, name in swallowed:
        if str(Path(name)) not in recordings or "offset" in head:  # with offsets, several rows have one recording
            raise BadInputError(
                f"{location}: a text of several lines names the recording {one_line(name)}, so it may contain the "
                f"rows after it; {OPEN_QUOTE}"
            )


def _rows(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[str, list[str]]]:
    """Rows that are not empty, each with its location."""
    line = 1
    while True:
        location = f"{path}, line {line}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise BadInputError(f"{location}: {error}; {OPEN_QUOTE}") from error
        if cells is None:
            return
        line = reader.line_num + 1  # type: ignore[attr-defined]
        if cells:
            yield location, cells


def _swallowed(cells: Sequence[str], suffix: str, folder: Path) -> list[str]:
    """The recordings that cells of several lines name: those of rows after an open quotation mark, or of a text.

    Args:
        cells: of a row.
        suffix: of its recording, in lower case; may be empty.
        folder: of the table.

    Returns:
        Parts between commas that are the name of an existing file, or a word that ends like the name of the row's
        recording.
    """
    parts = [part.strip(' "\r\t') for cell in cells if "\n" in cell for part in re.split("[,\n]", cell)]
    return [part for part in parts if _is_file(folder / part) or (suffix and _is_name(part, suffix))]


def _is_file(path: Path) -> bool:
    """Whether there is a file or a link; False also for a name that no file can have."""
    return os.path.lexists(path) and not path.is_dir()


def _is_name(part: str, suffix: str) -> bool:
    return len(part.split()) == 1 and Path(part).suffix.lower() == suffix
