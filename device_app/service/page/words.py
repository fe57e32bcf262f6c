"""Requests of the page's section "Words": the list of terms and of replacements (see `device_app.data.terms`).

All requests return both lists as they are after the request; those that add something also say what is new, what was
changed, and what was there already. A term or replacement that is not valid gives status 400;
a damaged list gives 503.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """Words or phrases to add to the terms; terms of weight 2 are preferred twice as strongly.

    Without a weight, a term that is in the list keeps the one that it has.
    """

    texts: list[Annotated[str, ShortText]] = Field(min_length=1, max_length=500)
    weight: float | None = None


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
    terms = [Term(" ".join(text.split()), 1.0 if new.weight is None else new.weight) for text in new.texts]

    def add(listed: TermList) -> TermList:
        known = {term.key: term for term in listed.terms}
        changing = [
            replace(term, weight=known[term.key].weight) if new.weight is None and term.key in known else term
            for term in terms
        ]
        return listed.with_terms([term for term in changing if not _is_same(term, known.get(term.key))])

    return await _change(person, add, added=lambda listed: listed.terms, new=terms)


@router.post("/terms/remove")
async def remove_term(removed: RemovedTerm, person: Person) -> dict[str, Any]:
    """Removes a word."""
    return await _change(person, lambda known: known.without([removed.text]))


@router.post("/replacements")
async def add_replacement(new: NewReplacement, person: Person) -> dict[str, Any]:
    """Adds a replacement, or changes it."""
    replacement = Replacement(new.words, new.text)

    def add(listed: TermList) -> TermList:
        return listed if replacement in listed.replacements else listed.with_replacements([replacement])

    return await _change(person, add, added=lambda listed: listed.replacements, new=[replacement])


@router.post("/replacements/remove")
async def remove_replacement(removed: RemovedReplacement, person: Person) -> dict[str, Any]:
    """Removes a replacement."""
    return await _change(person, lambda known: known.without_replacements([removed.words]))


@router.post("/corrections")
async def set_corrections(settings: CorrectionSettings, person: Person) -> dict[str, Any]:
    """Chooses whether words that the person corrects are added to the list."""
    return await _change(person, lambda known: replace(known, from_corrections=settings.from_corrections))


async def _change(
    person: Owner,
    change: Callable[[TermList], TermList],
    *,
    added: Callable[[TermList], Sequence[Term] | Sequence[Replacement]] | None = None,
    new: Sequence[Term] | Sequence[Replacement] = (),
) -> dict[str, Any]:
    """Changes the list; returns both lists, and with `added`, which selects one, what became of the `new` entries."""

    def run() -> dict[str, Any]:
        before, now = change_terms(change)
        return {**_record(), **({} if added is None else _outcome(added(before), added(now), new))}

    return await person.run(run)


def _outcome(
    before: Sequence[Term] | Sequence[Replacement],
    now: Sequence[Term] | Sequence[Replacement],
    new: Sequence[Term] | Sequence[Replacement],
) -> dict[str, list[str]]:
    """Which of the new entries were added, changed, or there already, as the list now spells them."""
    earlier, listed = {one.key: one for one in before}, {one.key: one for one in now}
    found: dict[str, list[str]] = {"added": [], "changed": [], "known": []}
    for key in dict.fromkeys(one.key for one in new):
        entry, old = listed[key], earlier.get(key)
        found["added" if old is None else "known" if entry == old else "changed"].append(
            entry.text if isinstance(entry, Term) else entry.pattern
        )
    return found


def _is_same(term: Term, known: Term | None) -> bool:
    """Whether a term is in the list as it is."""
    return known is not None and (term.text, term.weight) == (known.text, known.weight)


def _record() -> dict[str, Any]:
    known, usage = stored_terms(), stored_usage()
    rows = [(term, usage.get(term.key, Usage())) for term in known.terms]
    return {
        "from_corrections": known.from_corrections,
        "terms": [{**asdict(term), **asdict(uses), "needed": uses.is_needed} for term, uses in rows],
        "replacements": [{"words": rule.pattern, "text": rule.text} for rule in known.replacements],
    }
