"""Requests of the page's section "Correct": what was recognised in each recording, and what was really said."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from device_app.audio.samples import SAMPLE_RATE
from device_app.data.names import MAX_TEXT_LENGTH
from device_app.data.store import Store
from device_app.data.terms.corrected_words import add_corrected_words
from device_app.data.utterance import MIN_CONFIDENCE, StoredUtterance
from device_app.service.page.owner import Person
from editing.errors import StorageError

log = logging.getLogger(__name__)
router = APIRouter(prefix="/utterances")

Limit = Annotated[int, Query(ge=1, le=500)]
Skipped = Annotated[int, Query(ge=0)]
Show = Literal["unchecked", "unsure", "all"]  # which recordings; see `_is_shown`


class Correction(BaseModel):
    """What was said; `expect_words`: whether to add the corrected words to the owner's terms."""

    text: str = Field(max_length=4 * MAX_TEXT_LENGTH)
    expect_words: bool = True


@router.get("")
async def recordings(
    person: Person, show: Show = "unchecked", limit: Limit = 100, after: Skipped = 0
) -> dict[str, Any]:
    """Recordings to check, and how many there are. "unsure" has the least certain first, the others the newest.

    A recording leaves "unsure" when its text is saved. `after` is how many recordings to skip.
    """

    def find(store: Store) -> dict[str, Any]:
        found = [u for u in store.utterances() if _is_shown(u, show)]
        if show == "unsure":
            found.sort(key=lambda utterance: utterance.confidence or 0.0)
        else:
            found.reverse()
        chosen = found[after : after + limit]
        return {"total": len(found), "utterances": [utterance.record() for utterance in chosen]}

    return await person.with_store(find)


@router.get("/{number}")
async def recognise(number: int, person: Person) -> dict[str, Any]:
    """A recording with the words that the model recognises in it now, and how sure it is of each."""
    utterance = await person.with_store(lambda store: store.get(number))
    audio = await person.run(utterance.read)
    loaded = await person.loaded()
    with person.service.job(person.client) as job:
        transcript = await job.run(lambda: loaded.transcriber.transcribe(audio, SAMPLE_RATE))
    utterance = await person.with_store(
        lambda store: store.set_hypothesis(number, transcript.text, transcript.confidence)
    )
    words = [{**asdict(word), "is_sure": word.confidence >= MIN_CONFIDENCE} for word in transcript.words]
    return {**utterance.record(), "recognised": transcript.text, "words": words}


@router.get("/{number}/audio")
async def audio_of(number: int, person: Person) -> FileResponse:
    """The sound of a recording, a FLAC file."""
    utterance = await person.with_store(lambda store: store.get(number))
    return FileResponse(utterance.audio, media_type="audio/flac", headers={"Cache-Control": "no-store"})


@router.put("/{number}")
async def correct(number: int, correction: Correction, person: Person) -> dict[str, Any]:
    """Stores what was said. When the answer arrives, the text is durable."""

    def change(store: Store) -> dict[str, Any]:
        utterance = store.set_text(number, correction.text)
        return {**utterance.record(), "expected": _expected(utterance) if correction.expect_words else []}

    return await person.with_store(change)


def _expected(utterance: StoredUtterance) -> list[str]:
    """Adds the corrected words to the owner's terms, and returns them; none, with a warning, if that is impossible.

    The text is stored already, so the request has not failed.
    """
    try:
        return add_corrected_words(utterance.hypothesis, utterance.text)
    except StorageError as error:
        log.warning("no corrected word was added to the list of terms: %s", type(error).__name__)
        return []


@router.delete("/{number}", status_code=204)
async def delete(number: int, person: Person) -> None:
    """Deletes a recording and its text for good."""
    await person.with_store(lambda store: store.delete([number]))


def _is_shown(utterance: StoredUtterance, show: Show) -> bool:
    """Whether an utterance is in a list: "unchecked" has no text, "unsure" is of low confidence and not yet settled."""
    if show == "unchecked":
        return utterance.text is None
    if show == "all":
        return True
    # A text that differs from the hypothesis was written by a person, and one that equals it confirms the hypothesis.
    is_settled = utterance.source == "corrected" or utterance.text == utterance.hypothesis
    return not is_settled and utterance.confidence is not None and utterance.confidence < MIN_CONFIDENCE
