"""Reads untrusted JSON: every fault raises JSONTextError, and files are limited in size. Makes documents valid JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from editing.errors import StorageError, one_line

MAX_BYTES = 256 << 20  # of a JSON file; the largest that asr-edge writes, a ledger of a thousand edits, has 100 MB

MAX_WHOLE_NUMBER = 1 << 53  # float64 holds all whole numbers up to it

SHOWN_LENGTH = 60  # characters of a value in an error message


class JSONTextError(ValueError):
    """Text is not JSON, or is JSON that asr-edge never writes; the message is one line."""


def parse_json(text: str | bytes, *, strict: bool = False, unique: bool = False) -> Any:
    """Parses a JSON document.

    Args:
        text: the document; bytes are UTF-8.
        strict: for records that asr-edge writes itself: also refuse duplicate keys, NaN, infinity,
            numbers too large for float64, and lone surrogates.
        unique: refuse duplicate keys, of which the last would replace the others.

    Raises:
        JSONTextError: it is not JSON, is nested too deep, or has an integer of thousands of digits.
    """
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        if not strict:
            return json.loads(text, object_pairs_hook=_unique if unique else None)
        record = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
        if "\\ud" in text.lower():  # UTF-8 has no surrogates, so only an escape can produce one
            json.dumps(record, ensure_ascii=False).encode()
    except RecursionError:
        raise JSONTextError("nested too deep") from None
    except UnicodeEncodeError:
        raise JSONTextError("a string contains half of a surrogate pair") from None
    except ValueError as error:
        is_long = "integer string conversion" in str(error)  # Python's text names a function of Python
        raise JSONTextError("an integer has thousands of digits" if is_long else str(error)) from None
    return record


def read_json(path: Path, *, max_bytes: int = MAX_BYTES) -> Any:
    """Parses a JSON file, as `parse_json`.

    Raises:
        OSError: it is missing or cannot be read.
        JSONTextError: as `parse_json`; or the file is larger than `max_bytes`.
    """
    return parse_json(read_bounded(path, max_bytes))


def read_bounded(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Reads a file of at most `max_bytes` bytes.

    Raises:
        OSError: it is missing or cannot be read.
        JSONTextError: it is larger than `max_bytes`.
    """
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise JSONTextError(f"larger than {max_bytes} bytes")
    return data


def check_format_version(record: Any, known: int, path: Path) -> None:
    """Checks the "format_version" of a record in the data folder.

    Args:
        record: the JSON document.
        known: the version that this asr-edge reads and writes.
        path: its file, for the message.

    Raises:
        StorageError: a later version of asr-edge has written it; it is not damaged.
        JSONTextError: it has no version, or one that never existed.
    """
    version = record.get("format_version") if isinstance(record, dict) else None
    if is_whole_number(version, minimum=known + 1):
        raise StorageError(
            f"{path}: was written by a later version of asr-edge (format {version}; this one reads {known}); nothing "
            "was changed. Update asr-edge"
        )
    if not is_whole_number(version) or version != known:
        raise JSONTextError(f"format version {shown(version)}")


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice in an object")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large for float64")
    return number


def without_nan(document: Any) -> Any:
    """A document of lists, dictionaries and values, with None instead of NaN and infinity, which JSON does not have."""
    if isinstance(document, dict):
        return {key: without_nan(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [without_nan(value) for value in document]
    return None if isinstance(document, float) and not math.isfinite(document) else document


def shown(value: object) -> str:
    """Formats a JSON value for an error message; of a list or an object only its type and length."""
    if isinstance(value, dict | list):  # its repr may be large, and fails on deep nesting
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return one_line(repr(value), SHOWN_LENGTH)


def is_whole_number(value: object, minimum: int = 0, maximum: int = MAX_WHOLE_NUMBER) -> bool:
    """Whether a JSON value is an integer in this range; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a JSON value is a finite number in the range of float64; true and false are not."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 1023


def is_scores(value: object) -> bool:
    """Whether a JSON value is an object of finite numbers."""
    return isinstance(value, dict) and all(is_number(one) for one in value.values())
