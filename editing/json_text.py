"""Reading JSON that anybody may have written: every fault is one kind of error, and memory is bounded."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from editing.errors import one_line

MOST_BYTES = 256 << 20  # of a JSON file; the largest that asr-edge writes, the ledger of a thousand edits, has 100 MB


class JSONTextError(ValueError):
    """Text that is not JSON, or JSON that nothing of ours writes; one line."""


def parse_json(text: str | bytes, *, strict: bool = False) -> Any:
    """What a JSON document says.

    Args:
        text: the document; bytes are UTF-8.
        strict: for records that asr-edge writes itself: refuse what it never writes, which are keys
            that appear twice in an object, NaN, infinity, numbers beyond float64, and lone surrogates.

    Raises:
        JSONTextError: it is not JSON, is nested too deep, or has an integer of thousands of digits.
    """
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        if not strict:
            return json.loads(text)
        record = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
        if "\\ud" in text.lower():  # UTF-8 has no surrogates: only an escape can have made one
            json.dumps(record, ensure_ascii=False).encode()
    except RecursionError:
        raise JSONTextError("nested too deep") from None
    except UnicodeEncodeError:
        raise JSONTextError("a text has half of a surrogate pair") from None
    except ValueError as error:
        raise JSONTextError(str(error)) from None
    return record


def read_json(path: Path, *, strict: bool = False, most_bytes: int = MOST_BYTES) -> Any:
    """`parse_json` of a file.

    Raises:
        OSError: it is missing or cannot be read.
        JSONTextError: as `parse_json`; or the file is larger than `most_bytes`.
    """
    return parse_json(read_bounded(path, most_bytes), strict=strict)


def read_bounded(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """A file's bytes, if there are not too many.

    Raises:
        OSError: it is missing or cannot be read.
        JSONTextError: it is larger than `most_bytes`.
    """
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise JSONTextError(f"larger than {most_bytes} bytes")
    return data


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
        raise ValueError("a number is beyond float64")
    return number


def shown(value: object, most: int = 60) -> str:
    """A value of a JSON document for an error's line; of a list or an object only that it is one."""
    if isinstance(value, dict | list):  # not its repr: it may be large, and nested deeper than repr goes
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return one_line(repr(value), most)


def is_whole_number(value: object, least: int = 0, most: int = 1 << 53) -> bool:
    """Whether a value of a JSON document is an integer in this range; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_number(value: object) -> bool:
    """Whether a value of a JSON document is a finite number of float64's range; true and false are not."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 1023


def is_scores(value: object) -> bool:
    """Whether a value of a JSON document is an object of finite numbers."""
    return isinstance(value, dict) and all(is_number(one) for one in value.values())
