"""The view Words: words that recognition expects, and what is written instead of some words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from device_app.data.terms import Replacement, Term, TermList, changed_terms, stored_terms
from device_app.data.terms.usage import Usage, stored_usage
from device_app.service.page.owner import Owner, Person

router = APIRouter(prefix="/words")

Short = Field(max_length=200)


class NewTerm(BaseModel):
    """A word or phrase to expect."""

    text: str = Short
    weight: float = 1.0


class OldTerm(BaseModel):
    """A word or phrase to expect no longer."""

    text: str = Short


class NewReplacement(BaseModel):
    """Words, and what to write instead."""

    words: str = Short
    text: str = Field(default="", max_length=1000)


class OldReplacement(BaseModel):
    """The words of a replacement to remove."""

    words: str = Short


class Choice(BaseModel):
    """Whether corrected words are added to the list."""

    from_corrections: bool


@router.get("")
async def listed(person: Person) -> dict[str, Any]:
    """Both lists, with how often each word was useful."""
    return await person.run(_record)


@router.post("/terms")
async def add_term(new: NewTerm, person: Person) -> dict[str, Any]:
    """Adds a word, or changes its spelling or weight."""
    term = Term(" ".join(new.text.split()), new.weight)
    return await _change(person, lambda known: known.with_terms([term]))


@router.post("/terms/remove")
async def remove_term(old: OldTerm, person: Person) -> dict[str, Any]:
    """Removes a word."""
    return await _change(person, lambda known: known.without([old.text]))


@router.post("/replacements")
async def add_replacement(new: NewReplacement, person: Person) -> dict[str, Any]:
    """Adds a replacement, or changes it."""
    replacement = Replacement(new.words, new.text)
    return await _change(person, lambda known: known.with_replacements([replacement]))


@router.post("/replacements/remove")
async def remove_replacement(old: OldReplacement, person: Person) -> dict[str, Any]:
    """Removes a replacement."""
    return await _change(person, lambda known: known.without_replacement(old.words))


@router.post("/corrections")
async def choose(choice: Choice, person: Person) -> dict[str, Any]:
    """Chooses whether words that the person corrects are added to the list."""
    return await _change(person, lambda known: replace(known, from_corrections=choice.from_corrections))


async def _change(person: Owner, change: Callable[[TermList], TermList]) -> dict[str, Any]:
    def run() -> dict[str, Any]:
        with changed_terms() as box:
            box[0] = change(box[0])
        return _record()

    return await person.run(run)


def _record() -> dict[str, Any]:
    known, usage = stored_terms(), stored_usage()
    used = [(term, usage.get(term.key, Usage())) for term in known.terms]
    return {
        "from_corrections": known.from_corrections,
        "terms": [{**asdict(term), **asdict(one), "needed": one.is_needed} for term, one in used],
        "replacements": [{"words": one.pattern, "text": one.text} for one in known.replacements],
    }
