"""Text files of other programs: UTF-8 with or without a byte order mark, lines that end in LF, CRLF, or all in CR."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from editing.errors import BadInputError, one_line
from editing.json_text import read_bounded

MAX_BYTES = 1 << 30  # of a table or manifest
BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"

# By the first bytes of a file: what it is, and the remedy.
_OTHER_FILES = {
    b"\x1f\x8b": "it is compressed (gzip); unpack it first: gunzip",
    b"BZh": "it is compressed (bzip2); unpack it first: bunzip2",
    b"\xfd7zXZ\0": "it is compressed (xz); unpack it first: unxz",
    b"\x28\xb5\x2f\xfd": "it is compressed (Zstandard); unpack it first: unzstd",
    b"PK\x03\x04": "it is a ZIP archive, or a spreadsheet; unpack it, or save the table as CSV in UTF-8",
    b"PAR1": "it is a Parquet table; convert it to JSON lines or CSV",
}
# By the byte order mark. That of UTF-32 begins with that of UTF-16, so it comes first.
_MARKED_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """Reads a UTF-8 file without its byte order mark; line ends stay as they are.

    Raises:
        BadInputError: it is missing, cannot be read, is larger than `max_bytes`, or is not UTF-8. The
            message names the line with the first byte that is not UTF-8, or says what the file is instead.
    """
    try:
        data = read_bounded(path, max_bytes)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read as text ({error.strerror or error})") from error
    except ValueError as error:  # the path has a null byte, or the file is too large
        raise BadInputError(f"{path}: cannot be read as text ({one_line(str(error))})") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\n" if b"\n" in data else rb"\r", data[: error.start])) + 1
        encoding = _encoding(data)
        remedy = f", for instance: iconv -f {encoding} -t UTF-8" if encoding else " with iconv -f ITS-ENCODING -t UTF-8"
        reason = _other_file(path, data) or f"line {line} is not UTF-8; convert the file{remedy}"
        raise BadInputError(f"{path}: cannot be read as text: {reason}") from error
    if "\0" in text and (other := _other_file(path, data)) is not None:
        raise BadInputError(f"{path}: cannot be read as text: {other}")
    return text


def _other_file(path: Path, data: bytes) -> str | None:
    """Says what a file is that is not text, or is text of two bytes a character without a mark; None if unknown."""
    from device_app.audio.samples import is_recording  # numpy is slow to import

    for start, what in _OTHER_FILES.items():
        if data.startswith(start):
            return what
    if not data.startswith(tuple(_MARKED_ENCODINGS)):
        pairs = data[:200]
        for encoding, zeros in (("UTF-16LE", pairs[1::2]), ("UTF-16BE", pairs[::2])):
            if len(zeros) > 1 and zeros.count(0) > 0.9 * len(zeros) and pairs.count(0) < 0.6 * len(pairs):
                return f"it is in {encoding}; convert the file: iconv -f {encoding} -t UTF-8"
        if re.search(rb"[\0-\x08\x0e-\x1a]", data[:4096]) and is_recording(path):
            return "it is a sound file; expected a text file, such as a manifest"
    return None


def _encoding(data: bytes) -> str | None:
    """The encoding that a text which is not UTF-8 probably has, as iconv calls it; None if it is hard to tell."""
    for mark, encoding in _MARKED_ENCODINGS.items():
        if data.startswith(mark):
            return encoding
    # Another alphabet than the Latin one has such letters in a row; or the file is UTF-8 with a damaged character.
    if re.search(rb"[\xa1-\xff]{3}|[\xc3\xc4\xc5][\x80-\xbf]", data):
        return None
    # In ISO-8859-1, these bytes are control characters, which no text has.
    return "WINDOWS-1252" if re.search(rb"[\x80-\x9f]", data) else "ISO-8859-1"


def with_line_feeds(text: str) -> str:
    """Converts a text all of whose lines end in CR, as programs of the classic Mac OS write, to LF.

    Where there is an LF, a CR alone belongs to the text.
    """
    return text if "\n" in text else text.replace("\r", "\n")


def split_lines(text: str) -> list[str]:
    """Splits at LF and CRLF only, or at CR where there is no LF: U+2028, U+0085 and the like may stand inside a text.

    A byte order mark at the start of a line, where files were concatenated, is removed.
    """
    return [line.removeprefix(BYTE_ORDER_MARK) for line in re.split(r"\r?\n", with_line_feeds(text))]
