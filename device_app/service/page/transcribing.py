"""Requests of the page's section "Transcribe": a file in, text and subtitles out."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from device_app.audio import media
from device_app.data.utterance import MIN_CONFIDENCE
from device_app.recognition.writers import Format, render, segment_record
from device_app.service.errors import ServiceError, as_service_error
from device_app.service.http.streaming import OwningStream
from device_app.service.models import Loaded
from device_app.service.page.owner import Person
from device_app.service.recordings import RecordingTranscription
from device_app.service.state import Job, ServiceState
from editing.errors import BadAudioError, one_line

FORMATS = (Format.TXT, Format.SRT, Format.VTT, Format.JSON)
# In the messages of `device_app.audio`.
DAMAGED_AT = re.compile(r"damaged (?:or cut off )?(?:in \d+ places, the first )?(?:at|after) ([\d.]+) s\b")
READ_OF = re.compile(r"([\d.]+) s of ([\d.]+) s could be read")

router = APIRouter()


@router.post("/transcribe", response_model=None)
async def transcribe(request: Request, person: Person) -> OwningStream:
    """Transcribes a recording of any format that asr-edge reads, the field "file" of a form.

    The answer is one JSON object a line: `{"segment": ...}` as soon as each is recognised, then `{"files": ...}` with
    the whole as text and subtitles, or `{"error": ..., "reason": ...}`; the page has a text for each reason but "".
    """
    async with AsyncExitStack() as stack:
        try:
            with person.service.receiving(person.client):
                form = await stack.enter_async_context(request.form(max_files=1, max_fields=1))
        except HTTPException as error:  # Starlette makes one of the error of the library that reads the form
            raise ServiceError(400, f"the form cannot be read ({error.detail})") from error
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise ServiceError(400, "there is no file", parameter="file")
        loaded = await person.loaded()
        job = stack.enter_context(person.service.job(person.client))
        name = file.filename or "recording"
        work = RecordingTranscription(loaded.transcriber, file.file, name)
        lines = _lines(person.service, loaded, work, job, name)
        return OwningStream(lines, "application/x-ndjson", stack.pop_all())
    raise AssertionError("unreachable")  # for mypy: an exit stack could suppress an exception


async def _lines(
    service: ServiceState, loaded: Loaded, work: RecordingTranscription, job: Job, name: str
) -> AsyncIterator[str]:
    """The lines of the answer; `name` is that of the file, for its transcript as JSON."""
    try:
        async for segment in work.segments(job):
            record = segment_record(segment)
            record["words"] = [{**word, "is_sure": word["confidence"] >= MIN_CONFIDENCE} for word in record["words"]]
            yield _line({"segment": record})
        transcript = work.transcript()
        await service.count(loaded, transcript)
        files = {one.value: render(transcript, one, name) for one in FORMATS}
    except Exception as error:  # the status has been sent, so the error is a line too
        yield _line({"error": str(as_service_error(error).detail), "reason": _reason(error)})
        return
    yield _line(
        {
            "files": files,
            "seconds": transcript.duration_s,
            "warning": work.warning,
            "damage": _damage(work.warning, name),
        }
    )


def _reason(error: Exception) -> str:
    """The kind of an error, by which the page chooses its text; "" if the page has none for it."""
    if media.HINT in str(error):
        return "unknown kind"
    return "not audio" if isinstance(error, BadAudioError) else ""


def _damage(warning: str, name: str) -> dict[str, float]:
    """Where the damage of a file begins, or how much of it could be read, in seconds; empty if that is unknown."""
    message = warning.removeprefix(f"{one_line(name, 100)}: ")
    if place := DAMAGED_AT.match(message):
        return {"at_s": float(place[1])}
    if amount := READ_OF.search(message):
        return {"read_s": float(amount[1]), "total_s": float(amount[2])}
    return {}


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content) + "\n"
