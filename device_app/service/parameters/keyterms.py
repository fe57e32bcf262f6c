"""Keyterms of a request, beside those of the owner's list."""

from __future__ import annotations

import re
from collections.abc import Iterable

from device_app.data.terms import Term
from device_app.service.errors import ServiceError
from editing.errors import BadInputError

SEPARATOR = re.compile(r"[,;\n]+")
LONGEST_PROMPT = 10_000  # characters
MOST_WORDS = 5  # of a keyterm; a longer part of a prompt is a sentence
MOST_TERMS = 500  # of a request


def keyterms_of(prompt: str) -> list[Term]:
    """The keyterms in a prompt: its parts between commas, semicolons and line breaks, unless they are sentences.

    Raises:
        ServiceError: the prompt is too long.
    """
    if len(prompt) > LONGEST_PROMPT:
        raise ServiceError(400, f"prompt: longer than {LONGEST_PROMPT} characters", parameter="prompt")
    parts = (part.strip().rstrip(".!?") for part in SEPARATOR.split(prompt))
    return valid_terms(part for part in parts if len(part.split()) <= MOST_WORDS)


def valid_terms(texts: Iterable[object]) -> list[Term]:
    """The first `MOST_TERMS` of the texts that are terms, without duplicates; others, such as "--", are left out."""
    found: dict[str, Term] = {}
    for text in texts:
        if len(found) == MOST_TERMS:
            break
        try:
            term = Term(text) if isinstance(text, str) else None
        except BadInputError:
            continue
        if term is not None:
            found.setdefault(term.key, term)
    return list(found.values())
