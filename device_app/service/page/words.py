"""Requests of the page's section "Words": the list of terms and of replacements (see `device_app.data.terms`).

All requests return both lists as they are after the request. A term or replacement that is not valid gives status 400;
a damaged list gives 503.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from device_app.data.terms import Replacement, Term, TermList, change_terms, stored_terms
from device_app.data.terms.usage import Usage, stored_usage
from device_app.service.page.owner import Owner, Person

router = APIRouter(prefix="/words")

ShortText = Field(max_length=200)  # characters


class NewTerms(BaseModel):
    """Words or phrases to add to the terms; terms of weight 2 are preferred twice as strongly."""

    texts: list[Annotated[str, ShortText]] = Field(min_length=1, max_length=500)
    weight: float = 1.0


class RemovedTerm(BaseModel):
    """A word or phrase to remove from the terms."""

    text: str = ShortText


class NewReplacement(BaseModel):
    """Words, and the text that replaces them; an empty text removes them."""

    words: str = ShortText
    text: str = Field(max_length=1000)


class RemovedReplacement(BaseModel):
    """The words of a replacement to remove."""

    words: str = ShortText


class CorrectionSettings(BaseModel):
    """Whether corrected words are added to the terms."""

    from_corrections: bool


@router.get("")
async def word_lists(person: Person) -> dict[str, Any]:
    """Returns both lists; each term with how often it matched, and whether the model still needs it."""
    return await person.run(_record)


@router.post("/terms")
async def add_terms(new: NewTerms, person: Person) -> dict[str, Any]:
    """Adds words, or changes their spelling or weight; none if one is not valid."""
    terms = [Term(" ".join(text.split()), new.weight) for text in new.texts]
    return await _change(person, lambda known: known.with_terms(terms))


@router.post("/terms/remove")
async def remove_term(removed: RemovedTerm, person: Person) -> dict[str, Any]:
    """Removes a word."""
    return await _change(person, lambda known: known.without([removed.text]))


@router.post("/replacements")
async def add_replacement(new: NewReplacement, person: Person) -> dict[str, Any]:
    """Adds a replacement, or changes it."""
    replacement = Replacement(new.words, new.text)
    return await _change(person, lambda known: known.with_replacements([replacement]))


@router.post("/replacements/remove")
async def remove_replacement(removed: RemovedReplacement, person: Person) -> dict[str, Any]:
    """Removes a replacement."""
    return await _change(person, lambda known: known.without_replacements([removed.words]))


@router.post("/corrections")
async def set_corrections(settings: CorrectionSettings, person: Person) -> dict[str, Any]:
    """Chooses whether words that the person corrects are added to the list."""
    return await _change(person, lambda known: replace(known, from_corrections=settings.from_corrections))


async def _change(person: Owner, change: Callable[[TermList], TermList]) -> dict[str, Any]:
    def run() -> dict[str, Any]:
        change_terms(change)
        return _record()

    return await person.run(run)


def _record() -> dict[str, Any]:
    known, usage = stored_terms(), stored_usage()
    rows = [(term, usage.get(term.key, Usage())) for term in known.terms]
    return {
        "from_corrections": known.from_corrections,
        "terms": [{**asdict(term), **asdict(uses), "needed": uses.is_needed} for term, uses in rows],
        "replacements": [{"words": rule.pattern, "text": rule.text} for rule in known.replacements],
    }
