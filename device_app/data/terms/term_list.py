"""Keyterms: words and phrases that a recogniser is to expect, and the list of them in the data folder."""

from __future__ import annotations

import gc
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from device_app.data.names import is_permitted, one_spaced
from device_app.data.text_files import read_text, split_lines
from device_app.paths import data_folder
from editing.errors import BadInputError, StorageError
from editing.files import cannot_read, write_atomically
from editing.json_text import MAX_BYTES, JSONTextError, check_format_version, read_json
from editing.lock import locked
from editing.privacy import make_folder

FILE = "terms.json"
FORMAT_VERSION = 1
MAX_LENGTH = 100  # characters of a term
MAX_TERMS = 100_000  # terms of a list
MAX_REPLACEMENTS = 1000
ARROW = "->"
MAX_WEIGHT = 10.0  # a multiple of the default bonus, see `Term`
APOSTROPHES = str.maketrans("\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}", "''")


@dataclass(frozen=True)
class Term:
    """A word or phrase to expect.

    Attributes:
        text: as it is to be written, with single spaces, in Unicode's form NFC, as recognisers write (macOS and some
            PDF files give the other form); upper and lower case make no difference to what it matches.
            A joiner (U+200C, U+200D) inside a word is part of the spelling, as in Persian: it matches where the
            recogniser writes it too.
        weight: how strongly to expect it, as a multiple of the default; above 0 and at most `MAX_WEIGHT`.
        origin: "added", "imported" or "corrected".
        added: the day, ISO 8601; "" where it is in no list.
    """

    text: str
    weight: float = 1.0
    origin: str = "added"
    added: str = ""

    def __post_init__(self) -> None:
        """
        Raises:
            BadInputError: the text has no letter or digit, is too long, or has characters that cannot be seen; or the
                weight is out of range.
        """
        is_spaced = self.text == self.text.strip() and "  " not in self.text
        is_plain = is_spaced and self.text.replace(" ", "").isalnum() and len(self.text) <= MAX_LENGTH
        if is_plain and 0 < self.weight <= MAX_WEIGHT and unicodedata.is_normalized("NFC", self.text):
            return  # nearly all terms; a long list loads in half the time
        text = unicodedata.normalize("NFC", one_spaced(self.text))
        object.__setattr__(self, "text", text)
        if not any(map(str.isalnum, text)):
            raise BadInputError(f"{text[:MAX_LENGTH]!r} is not a term: it has no letter and no digit")
        if len(text) > MAX_LENGTH:
            raise BadInputError(f"a term of {len(text)} characters; at most {MAX_LENGTH} are allowed")
        if hidden := [character for character in text if not is_permitted(character)]:
            raise BadInputError(f"the term has the character {hidden[0]!a}, which cannot be seen; take it out")
        if not 0 < self.weight <= MAX_WEIGHT:
            raise BadInputError(f"a weight of {self.weight:g}; expected a number above 0 and at most {MAX_WEIGHT:g}")

    @property
    def key(self) -> str:
        """What makes two terms the same: the text without regard to case."""
        return normalise_term(self.text)


def normalise_term(text: str) -> str:
    """Normalises a text for comparison: lower case, Unicode's form NFC, one kind of apostrophe."""
    text = text.casefold()
    return text if text.isascii() else unicodedata.normalize("NFC", text).translate(APOSTROPHES)


@dataclass(frozen=True)
class Replacement:
    """Words of a decoded text, and what to write instead.

    Attributes:
        pattern: the words, in any case and without regard to punctuation around them.
        text: what to write; "" drops the words.
    """

    pattern: str
    text: str

    def __post_init__(self) -> None:
        """
        Raises:
            BadInputError: a word of the pattern has no letter and no digit, or a text is too long or has characters
                that cannot be seen.
        """
        for name in ("pattern", "text"):
            value = unicodedata.normalize("NFC", one_spaced(getattr(self, name)))
            object.__setattr__(self, name, value)
            if len(value) > MAX_LENGTH:
                raise BadInputError(f"a replacement of {len(value)} characters; at most {MAX_LENGTH} are allowed")
            if hidden := [character for character in value if not is_permitted(character)]:
                raise BadInputError(
                    f"the replacement has the character {hidden[0]!a}, which cannot be seen; take it out"
                )
        if not self.pattern or not all(any(map(str.isalnum, word)) for word in self.pattern.split()):
            raise BadInputError(f"{self.pattern!r} cannot be replaced: each word needs a letter or a digit")

    @property
    def key(self) -> str:
        """What makes two replacements the same: the pattern without regard to case."""
        return normalise_term(self.pattern)


def read_terms(path: Path) -> tuple[list[Term], list[Replacement]]:
    """Reads a text file with one term a line; "#" begins a comment line.

    After a tab a line may have a weight, or "->" and what to write instead of its words: then it is a replacement.
    Tabs at the end of a line, which spreadsheets write for empty cells, are ignored.

    Raises:
        BadInputError: it cannot be read, or a line is neither; the text names the line.
    """
    lines = split_lines(read_text(path, MAX_BYTES))
    terms: list[Term] = []
    replacements: list[Replacement] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        location = f"{path}, line {number}"
        text, has_more, more = line.rstrip().partition("\t")
        try:
            if not text.strip():
                raise BadInputError("it begins with a tab; write the term before the tab")
            if more.startswith(ARROW):
                replacements.append(Replacement(text, more.removeprefix(ARROW)))
            else:
                terms.append(Term(text, _weight(more) if has_more else 1.0))
        except BadInputError as error:
            raise BadInputError(f"{location}: {error}") from None
    if len(terms) > MAX_TERMS or len(replacements) > MAX_REPLACEMENTS:
        raise BadInputError(f"{path}: more than {MAX_TERMS} terms or {MAX_REPLACEMENTS} replacements")
    return terms, replacements


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadInputError(f"{text.strip()!r} is not a weight; expected TERM, tab, number") from None


def written_terms(terms: Iterable[Term], replacements: Iterable[Replacement] = ()) -> str:
    """The lines that `read_terms` reads."""
    lines = [term.text + (f"\t{_written_weight(term.weight)}" if term.weight != 1 else "") for term in terms]
    lines += [f"{one.pattern}\t{ARROW} {one.text}".rstrip() for one in replacements]
    return "".join(f"{_not_comment(line)}\n" for line in lines)


def _written_weight(weight: float) -> str:
    """All digits of a weight; `:g` would round it."""
    return str(weight).removesuffix(".0")


def _not_comment(line: str) -> str:
    """A line that does not begin with "#"; `read_terms` drops the space again."""
    return f" {line}" if line.startswith("#") else line


@dataclass(frozen=True)
class TermList:
    """The list in the data folder.

    Attributes:
        terms: in the order in which they were added.
        from_corrections: whether a corrected word becomes a term ('asr-edge terms corrections on' or 'off').
        replacements: in the order in which they are applied.
    """

    terms: Sequence[Term] = ()
    from_corrections: bool = True
    replacements: Sequence[Replacement] = ()

    def with_terms(self, new: Iterable[Term], origin: str = "added") -> TermList:
        """The list with more terms; one that it has already gets the new spelling and weight, and keeps its position.

        Args:
            new: the terms; their `origin` and `added` are not used.
            origin: `Term.origin` of those that the list has not yet. Their day is today, in UTC.

        Raises:
            BadInputError: there would be too many.
        """
        today = datetime.now(UTC).date().isoformat()
        found = {term.key: term for term in self.terms}
        for term in new:
            listed = found.get(term.key) or Term(term.text, origin=origin, added=today)
            found[term.key] = Term(term.text, term.weight, listed.origin, listed.added)
        if len(found) > MAX_TERMS:
            raise BadInputError(f"{len(found)} terms; at most {MAX_TERMS} are allowed. Nothing was changed")
        return replace(self, terms=[*found.values()])

    def without(self, texts: Iterable[str]) -> TermList:
        """The list without some terms, in any case.

        Raises:
            BadInputError: one is not in the list.
        """
        keys = {normalise_term(one_spaced(text)): text for text in texts}
        if missing := [text for key, text in keys.items() if key not in {term.key for term in self.terms}]:
            raise BadInputError(f"{missing[0]!r} is not in the list of terms; nothing was changed")
        return replace(self, terms=[term for term in self.terms if term.key not in keys])

    def with_replacements(self, new: Sequence[Replacement], position: int | None = None) -> TermList:
        """The list with more replacements; one with the same pattern as a new one is taken out.

        Args:
            new: in their order.
            position: position of the first of them, from 1; None is at the end.

        Raises:
            BadInputError: there would be too many.
        """
        keys = {one.key for one in new}
        kept = [one for one in self.replacements if one.key not in keys]
        index = len(kept) if position is None else position - 1
        replacements = [*kept[:index], *new, *kept[index:]]
        if len(replacements) > MAX_REPLACEMENTS:
            raise BadInputError(f"more than {MAX_REPLACEMENTS} replacements; nothing was changed")
        return replace(self, replacements=replacements)

    def without_replacements(self, patterns: Iterable[str]) -> TermList:
        """The list without some replacements, in any case.

        Raises:
            BadInputError: one is not in the list.
        """
        keys = {normalise_term(" ".join(pattern.split())): pattern for pattern in patterns}
        if missing := [pattern for key, pattern in keys.items() if key not in {one.key for one in self.replacements}]:
            raise BadInputError(f"{missing[0]!r} is not in the list of replacements; nothing was changed")
        return replace(self, replacements=[one for one in self.replacements if one.key not in keys])


def stored_terms() -> TermList:
    """The list in the data folder; empty where there is none.

    Raises:
        StorageError: it is damaged.
    """
    return read_term_list(_path())


def read_term_list(path: Path) -> TermList:
    """Reads a file in the form of the list in the data folder, as `stored_terms`."""
    with _without_garbage_collection():
        return _read_term_list(path)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Pauses the garbage collector, which takes a quarter of the time in which 10,000 terms are read."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _without_copies(terms: Sequence[Term]) -> list[Term]:
    """The terms without those whose text another has in Unicode's other form; earlier versions listed both."""
    return [*{one.text if one.text.isascii() else one.key: one for one in terms}.values()]


def _read_term_list(path: Path) -> TermList:
    try:
        record = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return TermList()
    except OSError as error:
        raise cannot_read(path, error) from error
    except JSONTextError as error:
        raise _damaged(path, str(error)) from error
    try:
        check_format_version(record, FORMAT_VERSION, path)
        terms = [Term(one["text"], one["weight"], one["origin"], one["added"]) for one in record["terms"]]
        return TermList(
            _without_copies(terms),
            bool(record.get("from_corrections", True)),
            [Replacement(**one) for one in record.get("replacements", ())],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, str(error)) from error


def change_terms(change: Callable[[TermList], TermList]) -> tuple[TermList, TermList]:
    """Changes the list in the data folder. No other process changes it meanwhile.

    Args:
        change: receives the list, and returns the new one. If it raises an error or returns the same object, nothing
            is written.

    Returns:
        The list before, and the list now.

    Raises:
        StorageError: it is damaged, or cannot be written; it is as it was.
    """
    path = _path()
    make_folder(path.parent)
    with locked(path.with_name(f".{FILE}.lock"), wait=True):
        before = stored_terms()
        now = change(before)
        if now is not before:
            record = {
                "format_version": FORMAT_VERSION,
                "from_corrections": now.from_corrections,
                "terms": [asdict(term) for term in now.terms],
                "replacements": [asdict(one) for one in now.replacements],
            }
            write_atomically(path, (json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode(), private=True)
    return before, now


def _damaged(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"{path}: the list of terms is damaged ({reason}); nothing was changed. 'asr-edge restore FILE' brings it "
        "back from a backup; without one, move the file away and import the terms again, or use --no-terms"
    )


def _path() -> Path:
    return data_folder() / FILE
