"""Which words of a corrected transcript the recogniser missed, so that it can expect them from now on."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from device_app.data.terms.frequent import is_frequent
from device_app.data.terms.term_list import MAX_TERMS, Term, TermList, change_terms, normalise_term, stored_terms
from editing.errors import BadInputError

MIN_CHARACTERS = 4  # of a word; a shorter one is common, or too like others to be preferred everywhere
ENDINGS = "+#"  # not punctuation at the end of a word, as in "Notepad++"


def corrected_words(hypothesis: str, text: str) -> list[str]:
    """The words of a transcript that its hypothesis lacks, in order.

    Left out are frequent words, words of fewer than `MIN_CHARACTERS` characters, and words without a letter, such as
    numbers. Case, the kind of apostrophe, and punctuation and other signs around a word make no difference.

    Args:
        hypothesis: what was recognised.
        text: what was said.

    Returns:
        The words without the signs around them, composed (Unicode NFC).
    """
    recognised = set(map(normalise_term, _words(hypothesis)))
    found: dict[str, str] = {}
    for word in filter(_is_rare, _words(text)):
        if (key := normalise_term(word)) not in recognised:
            found.setdefault(key, word)
    return [*found.values()]


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
    if not new_terms(hypothesis, text):
        return []
    added: list[Term] = []

    def add(listed: TermList) -> TermList:
        """Chooses again, because another process may have changed the list since."""
        added.extend(_addable(_terms(hypothesis, text), listed))
        return listed.with_terms(added, origin="corrected") if added else listed

    change_terms(add)
    return [term.text for term in added]


def new_terms(hypothesis: str | None, text: str | None) -> list[Term]:
    """The terms that `add_corrected_words` would add; none if the user has turned that off.

    A word that cannot be a term, such as a long address of a web page, is left out, and so are words for which the list
    has no room.

    Args:
        hypothesis, text: as for `add_corrected_words`.

    Raises:
        StorageError: the list is damaged.
    """
    terms = _terms(hypothesis, text)
    return _addable(terms, stored_terms()) if terms else []


def _terms(hypothesis: str | None, text: str | None) -> Sequence[Term]:
    words = corrected_words(hypothesis, text) if hypothesis and text else []
    return [term for word in words if (term := _term(word)) is not None]


def _term(word: str) -> Term | None:
    """The term of a word; None if it cannot be one."""
    try:
        return Term(word)
    except BadInputError:
        return None


def _addable(terms: Sequence[Term], listed: TermList) -> list[Term]:
    """Those of the terms that a list takes from a correction."""
    if not listed.from_corrections:
        return []
    keys = {term.key for term in listed.terms}
    new = [term for term in terms if term.key not in keys]
    return new[: max(0, MAX_TERMS - len(listed.terms))]


def _words(text: str) -> Iterator[str]:
    """The words of a text without the signs around them, in Unicode's composed form."""
    for word in unicodedata.normalize("NFC", text).split():
        start = next((index for index, character in enumerate(word) if character.isalnum()), len(word))
        end = len(word)
        while end > start and not _ends_word(word[end - 1]):
            end -= 1
        if end > start:
            yield word[start:end]


def _ends_word(character: str) -> bool:
    return character.isalnum() or character in ENDINGS or unicodedata.category(character)[0] == "M"


def _is_rare(word: str) -> bool:
    return len(word) >= MIN_CHARACTERS and any(map(str.isalpha, word)) and not is_frequent(word)
