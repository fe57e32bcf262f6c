"""Requests of the page's section "Record": which sentence is next, whether a take is good, and saving it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from device_app.data.importing import MAX_UTTERANCE_S
from device_app.data.names import DEFAULT_DOMAIN, MAX_NAME_LENGTH, MAX_TEXT_LENGTH
from device_app.data.recordings import recording_of
from device_app.data.store import Store
from device_app.data.utterance import MIN_CONFIDENCE, StoredUtterance
from device_app.recording.prompts import read_prompts
from device_app.recording.quality import find_problems
from device_app.recording.session import RecordingSession, Take
from device_app.recording.take_recorder import MARGIN_S
from device_app.service.page.owner import Owner, Person
from device_app.service.page.takes import CheckedTake, Takes, received
from device_app.service.page.tasks.state import is_learning
from device_app.status import MIN_LABELLED, RECOMMENDED
from editing.errors import BadInputError

router = APIRouter()
takes = Takes()

SHOWN = 3  # how many of the last recordings the page shows

Domain = Annotated[str, Query(max_length=MAX_NAME_LENGTH)]
Text = Annotated[str | None, Query(max_length=MAX_TEXT_LENGTH)]


class SentenceRequest(BaseModel):
    """What the person records: sentences to read, or free speech; `skipped` are sentences for another day."""

    domain: str = DEFAULT_DOMAIN
    free: bool = False
    skipped: list[str] = Field(default=[], max_length=1000)


@router.post("/recording")
async def next_sentence(chosen: SentenceRequest, person: Person) -> dict[str, Any]:
    """The next sentence, and how much has been recorded. Sentences that are probably hard for the model come first."""

    def find(store: Store) -> dict[str, Any]:
        session = _session(store, chosen.domain, free=chosen.free)
        if chosen.skipped:
            session.skip_all(chosen.skipped)
        recorded = _recorded(store, chosen.domain)
        return {
            "prompt": session.current.prompt if session.current is not None else None,
            "is_over": session.current is None,
            "done": len(recorded),
            "seconds": sum(one.duration_s for one in recorded),
            "labelled": session.labelled,
            "fewest": MIN_LABELLED,
            "enough": RECOMMENDED,
            "is_learning": is_learning(),
            "longest_s": MAX_UTTERANCE_S - MARGIN_S,
            "recent": [one.record() for one in _recent(recorded)],
        }

    return await person.with_store(find)


@router.post("/takes/check")
async def check_take(request: Request, person: Person, prompt: Text = None) -> dict[str, Any]:
    """What is wrong with a take, and what was recognised in it. Nothing is saved."""
    return _answer(await _checked(request, person), prompt)


@router.post("/takes")
async def save_take(
    request: Request, person: Person, domain: Domain = DEFAULT_DOMAIN, prompt: Text = None, text: Text = None
) -> dict[str, Any]:
    """Saves a take. When the answer arrives, the take is durable; to send it again changes nothing.

    `prompt` is the sentence that was read; without it, the take is free speech. `text` is what was said; without it,
    the take waits to be corrected.
    """
    checked = await _checked(request, person)
    saved = await person.with_store(lambda store: _saved(store, checked.take, domain, prompt, text))
    return {**_answer(checked, prompt), "utterance": saved.record()}


async def _checked(request: Request, person: Owner) -> CheckedTake:
    """The take in the body of a request.

    Raises:
        ServiceError, BadAudioError: as `received` and `Takes.checked`.
    """
    wav = await received(request)
    loaded = await person.loaded()
    with person.service.job(person.client) as job:
        return await job.run(lambda: takes.checked(wav, loaded.transcriber))


def _answer(checked: CheckedTake, prompt: str | None) -> dict[str, Any]:
    take = checked.take
    return {
        "problems": find_problems(take.quality, prompt, take.hypothesis),
        "quality": asdict(take.quality),
        "hypothesis": take.hypothesis,
        "words": [{**asdict(word), "is_sure": word.confidence >= MIN_CONFIDENCE} for word in checked.words],
    }


def _recorded(store: Store, domain: str) -> list[StoredUtterance]:
    """All that was recorded in a domain, read or free, also where the text was corrected; the oldest first."""
    if not store.has_domain(domain):
        return []
    return sorted(
        (one for one in store.utterances(domain) if one.source != "imported"), key=lambda utterance: utterance.number
    )


def _recent(recorded: Sequence[StoredUtterance]) -> list[StoredUtterance]:
    """The last recordings, the newest first; of a sentence that was recorded again only the newest."""
    found: dict[str, StoredUtterance] = {}
    for utterance in reversed(recorded):
        found.setdefault(utterance.text or utterance.hypothesis or str(utterance.number), utterance)
        if len(found) == SHOWN:
            break
    return list(found.values())


def _session(store: Store, domain: str, *, free: bool) -> RecordingSession:
    return RecordingSession(store, domain, None if free else read_prompts())


def _saved(store: Store, take: Take, domain: str, prompt: str | None, text: str | None) -> StoredUtterance:
    """Saves a take; returns it as it is stored, also if an earlier request has saved it."""
    sha256 = recording_of(take.audio).sha256
    if (known := store.find(domain, sha256)) is not None:  # sent again, because the answer was lost
        return known
    session = _session(store, domain, free=prompt is None)
    session.choose(prompt)
    try:
        return session.save(take, text)
    except BadInputError:
        if (known := store.find(domain, sha256)) is not None:  # saved by another request meanwhile
            return known
        raise
