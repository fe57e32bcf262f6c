"""Which words of a corrected transcript the recogniser missed, so that it can expect them from now on."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from device_app.data.terms.frequent import is_frequent
from device_app.data.terms.term_list import Term, TermList, change_terms, stored_terms

MIN_CHARACTERS = 4  # of a word; a shorter one is common, or too like others to be preferred everywhere


def corrected_words(hypothesis: str, text: str) -> list[str]:
    """The words of a transcript that its hypothesis lacks, in order, without punctuation and frequent words.

    Args:
        hypothesis: what was recognised.
        text: what was said.
    """
    before, after = _words(hypothesis), _words(text)
    matcher = SequenceMatcher(
        None, [one.casefold() for one in before], [one.casefold() for one in after], autojunk=False
    )
    found: dict[str, str] = {}
    for kind, _, _, start, end in matcher.get_opcodes():
        if kind in ("replace", "insert"):
            for one in filter(_is_rare, after[start:end]):
                found.setdefault(one.casefold(), one)
    known = {one.casefold() for one in before}
    return [one for key, one in found.items() if key not in known]


def add_corrected_words(hypothesis: str | None, text: str | None) -> list[str]:
    """Adds the words that a hypothesis lacks to the list of terms, unless the user has turned that off.

    Args:
        hypothesis: what was recognised; None where nothing was.
        text: what was said.

    Returns:
        The words that were added.

    Raises:
        StorageError: the list is damaged, or cannot be written.
    """
    if not (new := new_terms(hypothesis, text)):
        return []
    change_terms(lambda listed: listed.with_terms(new, origin="corrected"))
    return [word.text for word in new]


def new_terms(hypothesis: str | None, text: str | None) -> list[Term]:
    """The terms that `add_corrected_words` would add; none if the user has turned that off.

    Args:
        hypothesis, text: as for `add_corrected_words`.

    Raises:
        StorageError: the list is damaged.
    """
    words = [Term(word) for word in corrected_words(hypothesis, text)] if hypothesis and text else []
    known = stored_terms() if words else TermList()
    if not known.from_corrections:
        return []
    keys = {term.key for term in known.terms}
    return [word for word in words if word.key not in keys]


def _words(text: str) -> Sequence[str]:
    stripped = (word.strip("\"'.,;:!?()[]\u201c\u201d\u2018\u2019\u2026") for word in text.split())
    return [word for word in stripped if word]


def _is_rare(word: str) -> bool:
    return len(word) >= MIN_CHARACTERS and not word.isdecimal() and not is_frequent(word)
