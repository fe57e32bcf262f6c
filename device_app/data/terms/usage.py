"""How often each term of the list has matched, and whether the model still needs it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from device_app.data.terms.term_list import stored_terms
from device_app.paths import data_folder
from editing.errors import StorageError, one_line
from editing.files import cannot_read, write_atomically
from editing.json_text import JSONTextError, check_format_version, is_whole_number, read_json
from editing.lock import locked
from editing.privacy import make_folder

FILE = "term-usage.json"
FORMAT_VERSION = 1
MAX_UNAIDED = 3  # after so many matches in a row without help, a term counts as no longer needed; not measured
WRITE_EVERY_S = 30.0  # a process that is killed loses at most the matches of this time


@dataclass(frozen=True)
class Usage:
    """How often a term has matched.

    Attributes:
        matched: how often it was in a recognised text.
        helped: in how many of these texts it would be missing if the term were not on the list.
        unaided: matches since the last one that was helped.
        last: the day of the latest match, ISO 8601.
    """

    matched: int = 0
    helped: int = 0
    unaided: int = 0
    last: str = ""

    def after(self, helped: Iterable[bool]) -> Usage:
        """The usage after further matches today.

        Args:
            helped: for each match, in order, whether the text would lack the term if it were not on the list.
        """
        usage = replace(self, last=datetime.now(UTC).date().isoformat())
        for is_helped in helped:
            usage = replace(
                usage,
                matched=usage.matched + 1,
                helped=usage.helped + is_helped,
                unaided=0 if is_helped else usage.unaided + 1,
            )
        return usage

    @property
    def is_needed(self) -> bool | None:
        """Whether the model needs the term; None while it has matched too seldom to say."""
        if self.unaided >= MAX_UNAIDED:
            return False
        return True if self.helped else None


def stored_usage() -> dict[str, Usage]:
    """The usage of each term that has matched, by `Term.key`.

    Raises:
        StorageError: the file is damaged, cannot be read, or is of a later version of asr-edge.
    """
    path = _path()
    try:
        record = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise cannot_read(path, error) from error
    except JSONTextError as error:
        raise _damaged(path, error) from error
    try:
        check_format_version(record, FORMAT_VERSION, path)
        found = {str(key): Usage(**one) for key, one in record["terms"].items()}
        for one in found.values():
            if not all(map(is_whole_number, (one.matched, one.helped, one.unaided))):
                raise ValueError("a number of matches is not a whole number")
            if not isinstance(one.last, str):
                raise ValueError("the day of a match is not a text")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error
    return found


def _damaged(path: Path, error: Exception) -> StorageError:
    return StorageError(
        f"{path}: the counts of matched terms are damaged ({one_line(str(error))}); the terms are as they were. Move "
        "the file away, and the counts begin at 0"
    )


class UsageCounter:
    """Counts matches in memory, and adds them to the file from time to time."""

    def __init__(self) -> None:
        self._helped: dict[str, list[bool]] = {}  # by the key of the term: each match since the last write
        self._written_at = time.monotonic()

    def add(self, matches: Iterable[tuple[str, bool]]) -> None:
        """Counts matches; calls `write` if the last call is `WRITE_EVERY_S` ago.

        Args:
            matches: the key of each term, and whether the text would lack it if it were not on the list.

        Raises:
            StorageError: the file is damaged or cannot be written.
        """
        for term, is_helped in matches:
            self._helped.setdefault(term, []).append(is_helped)
        if self._helped and time.monotonic() - self._written_at >= WRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Adds to the file what was counted since the last call; other processes may do so at the same time.

        Matches of terms that are not in the list, such as those of the file of --terms, are not kept, nor is the usage
        of terms that have left it.

        Raises:
            StorageError: the file is damaged or cannot be written; it is as it was, and the next call tries again.
        """
        self._written_at = time.monotonic()
        if self._helped:
            _add(self._helped)
            self._helped = {}


def _add(counted: Mapping[str, list[bool]]) -> None:
    path = _path()
    make_folder(path.parent)
    with locked(path.with_name(f".{FILE}.lock"), wait=True):
        listed = {term.key for term in stored_terms().terms}  # `Term.key`
        usage = {key: one for key, one in stored_usage().items() if key in listed}
        usage |= {key: usage.get(key, Usage()).after(helped) for key, helped in counted.items() if key in listed}
        record = {"format_version": FORMAT_VERSION, "terms": {key: asdict(one) for key, one in usage.items()}}
        write_atomically(path, (json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode(), private=True)


def _path() -> Path:
    return data_folder() / FILE
