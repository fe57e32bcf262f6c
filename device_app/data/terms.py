"""Keyterms: words and phrases that a recogniser is to expect, and the list of them in the data folder."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from device_app.paths import data_folder
from editing.errors import BadInputError, StorageError
from editing.files import write_atomically
from editing.json_text import is_whole_number, read_bounded, read_json, shown
from editing.lock import locked
from editing.privacy import make_folder

FILE = "terms.json"
FORMAT_VERSION = 1
LONGEST = 100  # characters of a term
MOST = 100_000  # terms of a list
LARGEST_WEIGHT = 10.0


@dataclass(frozen=True)
class Term:
    """A word or phrase to expect.

    Attributes:
        text: as it is to be written; upper and lower case make no difference to what it matches.
        weight: how strongly to expect it, as a multiple of the default; above 0.
        origin: "added", "imported" or "corrected".
        added: the day, ISO 8601; "" where it is in no list.
    """

    text: str
    weight: float = 1.0
    origin: str = "added"
    added: str = ""

    @property
    def key(self) -> str:
        """What makes two terms the same: the text without regard to case."""
        return self.text.casefold()


def checked_term(text: str, weight: float = 1.0, place: str = "") -> Term:
    """A term that a person has named: its white space evened out.

    Args:
        text: a word or phrase.
        weight: a multiple of the default.
        place: file and line, for the error.

    Raises:
        BadInputError: it has no letter or digit, is too long, has characters that cannot be seen, or its weight is not
            above 0 and at most `LARGEST_WEIGHT`.
    """
    where = f"{place}: " if place else ""
    text = " ".join(text.split())
    if not any(character.isalnum() for character in text):
        raise BadInputError(f"{where}{text[:LONGEST]!r} is not a term: it has no letter and no digit")
    if len(text) > LONGEST:
        raise BadInputError(f"{where}a term of {len(text)} characters; {LONGEST} is the most")
    if not text.isprintable():
        hidden = [character for character in text if not character.isprintable()]
        raise BadInputError(f"{where}the term has the character {hidden[0]!a}, which cannot be seen; take it out")
    if not (math.isfinite(weight) and 0 < weight <= LARGEST_WEIGHT):
        raise BadInputError(f"{where}a weight of {weight:g}; expected a number above 0 and at most {LARGEST_WEIGHT:g}")
    return Term(text, float(weight))


def read_terms(path: Path) -> list[Term]:
    """Reads a text file with one term a line, and a weight after a tab where it has one; "#" begins a comment line.

    Raises:
        BadInputError: it cannot be read, or a line is not a term; the text names the line.
    """
    try:
        lines = read_bounded(path).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInputError(f"{path}: cannot be read as a list of terms ({reason})") from error
    terms = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        place = f"{path}, line {number}"
        text, is_weighted, weight = line.partition("\t")
        try:
            value = float(weight) if is_weighted else 1.0
        except ValueError:
            raise BadInputError(f"{place}: {weight.strip()!r} is not a weight; expected TERM, tab, number") from None
        terms.append(checked_term(text, value, place))
    if len(terms) > MOST:
        raise BadInputError(f"{path}: {len(terms)} terms; {MOST} is the most")
    return terms


def written_terms(terms: Iterable[Term]) -> str:
    """The lines that `read_terms` reads."""
    return "".join(term.text + (f"\t{term.weight:g}" if term.weight != 1 else "") + "\n" for term in terms)


@dataclass(frozen=True)
class TermList:
    """The list in the data folder.

    Attributes:
        terms: in the order in which they were added.
        from_corrections: whether a corrected word becomes a term.
    """

    terms: Sequence[Term] = ()
    from_corrections: bool = True

    def with_terms(self, new: Iterable[Term], origin: str = "added") -> TermList:
        """The list with more terms; one that it has already gets the new spelling and weight, and keeps its place.

        Raises:
            BadInputError: there would be too many.
        """
        today = datetime.now(UTC).date().isoformat()
        found = {term.key: term for term in self.terms}
        for term in new:
            known = found.get(term.key)
            since = known or Term(term.text, origin=origin, added=today)
            found[term.key] = Term(term.text, term.weight, since.origin, since.added)
        if len(found) > MOST:
            raise BadInputError(f"{len(found)} terms; {MOST} is the most. Nothing was changed")
        return replace(self, terms=[*found.values()])

    def without(self, texts: Iterable[str]) -> TermList:
        """The list without some terms, in any case.

        Raises:
            BadInputError: one is not in the list.
        """
        keys = {" ".join(text.split()).casefold(): text for text in texts}
        if missing := [text for key, text in keys.items() if key not in {term.key for term in self.terms}]:
            raise BadInputError(f"{missing[0]!r} is not in the list of terms; nothing was changed")
        return replace(self, terms=[term for term in self.terms if term.key not in keys])


def stored_terms() -> TermList:
    """The list in the data folder; empty where there is none.

    Raises:
        StorageError: it is damaged.
    """
    return read_term_list(_path())


def read_term_list(path: Path) -> TermList:
    """Reads a file in the form of the list in the data folder, as `stored_terms`."""
    try:
        record = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return TermList()
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    try:
        version = record["format_version"]
        if is_whole_number(version, minimum=FORMAT_VERSION + 1):
            raise StorageError(
                f"{path}: the list of terms was written by a later asr-edge (format {version}; this one reads format "
                f"{FORMAT_VERSION}); nothing was changed. Update asr-edge, or use --no-terms"
            )
        if version != FORMAT_VERSION:
            raise ValueError(f"format {shown(version)}")
        return TermList([_term(one) for one in record["terms"]], bool(record.get("from_corrections", True)))
    except StorageError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, str(error)) from error


@contextmanager
def changed_terms() -> Iterator[list[TermList]]:
    """Reads the list, and writes it again when the block ends, if the block has replaced it.

    No other process changes the list meanwhile.

    Yields:
        A list with one item, the `TermList`.

    Raises:
        StorageError: it is damaged, or cannot be written; it is as it was.
    """
    path = _path()
    make_folder(path.parent)
    with locked(path.with_name(f".{FILE}.lock"), wait=True):
        old = stored_terms()
        box = [old]
        yield box
        if box[0] is not old:
            record = {
                "format_version": FORMAT_VERSION,
                "from_corrections": box[0].from_corrections,
                "terms": [asdict(term) for term in box[0].terms],
            }
            write_atomically(path, (json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode(), private=True)


def _term(record: Any) -> Term:
    term = checked_term(record["text"], record["weight"])
    return Term(term.text, term.weight, str(record["origin"]), str(record["added"]))


def _damaged(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"{path}: the list of terms is damaged ({reason}); nothing was changed. Move the file away and import the "
        "terms again, or use --no-terms"
    )


def _path() -> Path:
    return data_folder() / FILE
