"""Text files of other programs: UTF-8 with or without a byte order mark, lines that end in LF or CRLF."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from editing.errors import BadInputError, one_line
from editing.json_text import read_bounded

MAX_BYTES = 1 << 30  # of a table or manifest
BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """Reads a UTF-8 file without its byte order mark; line ends stay as they are.

    Raises:
        BadInputError: it is missing, cannot be read, is larger than `max_bytes`, or is not UTF-8. The
            message names the line with the first byte that is not UTF-8.
    """
    try:
        data = read_bounded(path, max_bytes)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read as text ({error.strerror or error})") from error
    except ValueError as error:  # the path has a null byte, or the file is too large
        raise BadInputError(f"{path}: cannot be read as text ({one_line(str(error))})") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        encoding = "UTF-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "ISO-8859-1"
        raise BadInputError(
            f"{path}: cannot be read as text: line {line} is not UTF-8; convert the file, for instance: "
            f"iconv -f {encoding} -t UTF-8"
        ) from error


def split_lines(text: str) -> list[str]:
    """Splits at LF and CRLF only: U+2028, U+0085 and the like may stand inside a text.

    A byte order mark at the start of a line, where files were concatenated, is removed.
    """
    return [line.removeprefix(BYTE_ORDER_MARK) for line in re.split(r"\r?\n", text)]
