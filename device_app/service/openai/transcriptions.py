"""POST /v1/audio/transcriptions: a recording -> its transcript."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from device_app.service.errors import ServiceError, as_service_error, error_body
from device_app.service.http.streaming import OwningStream
from device_app.service.models import Loaded
from device_app.service.openai.disconnect import unless_gone
from device_app.service.openai.form import TranscriptionRequest
from device_app.service.openai.results import as_json, as_text, as_verbose_json, usage
from device_app.service.parameters.languages import check_language
from device_app.service.recordings import RecordingTranscription
from device_app.service.state import Client, Job, Service, ServiceState

MOST_FIELDS = 50  # of a form
MOST_TEXT = 1 << 20  # bytes of a field that is not a file
WARNING = "X-Asr-Edge-Warning"  # header of the response to a damaged recording

router = APIRouter()


@router.post("/v1/audio/transcriptions", response_model=None)
async def transcribe(request: Request, service: Service, client: Client) -> Response:
    """Transcribes a recording of any format that asr-edge reads. The body is a form (multipart/form-data)."""
    async with AsyncExitStack() as stack:
        with service.receiving(client):
            form = await _form(request)
        stack.push_async_callback(form.close)
        wanted = TranscriptionRequest.of(form)
        loaded = await service.model(wanted.model)
        check_language(wanted.language, loaded.transcriber.language)
        transcriber = await service.transcriber(loaded, wanted.keyterms)
        job = stack.enter_context(service.job(client))
        work = RecordingTranscription(transcriber, wanted.file.file, wanted.file.filename or "recording")
        if wanted.stream:
            return OwningStream(_events(service, loaded, work, job), "text/event-stream", stack.pop_all())
        await unless_gone(request, _all(work, job))
        await service.count(loaded, work.transcript())
    return _response(wanted, work, transcriber.language)


async def _form(request: Request) -> FormData:
    """The form in the body; its files must be closed.

    Raises:
        ServiceError: the body is not a form.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ServiceError(
            400,
            "the body must be a form (multipart/form-data) with the recording as a file in the field file "
            "(with curl: -F file=@talk.m4a)",
        )
    try:
        return await request.form(max_files=1, max_fields=MOST_FIELDS, max_part_size=MOST_TEXT)
    except HTTPException as error:  # Starlette makes one of the error of the library that reads the form
        raise ServiceError(400, _reason(str(error.detail)), parameter="file") from error


def _reason(message: str) -> str:
    """What is wrong with a form, from the message of the library that reads it."""
    if message.startswith("Too many files"):
        return "file: the form has more than one file; send one recording, and other parameters as texts"
    if message.startswith("Too many fields"):
        return f"the form has more than {MOST_FIELDS} fields; send file and the parameters that the service describes"
    if message.startswith("Part exceeded"):
        return (
            f"file: a field that is not a file has more than {MOST_TEXT >> 20} MB; send the recording as a file "
            "(with curl: -F file=@talk.m4a)"
        )
    return (
        "the body is not a complete form (multipart/form-data with a boundary): send the recording as a file in the "
        "field file, and let your HTTP library write the header Content-Type (with curl: -F file=@talk.m4a)"
    )


async def _all(work: RecordingTranscription, job: Job) -> None:
    """Recognises the whole recording; `work.transcript` has the result."""
    async for _segment in work.segments(job):
        pass


def _response(wanted: TranscriptionRequest, work: RecordingTranscription, language: str) -> Response:
    transcript = work.transcript()
    headers = {WARNING: work.warning.encode("ascii", "backslashreplace").decode()} if work.warning else {}
    if wanted.response_format == "json":
        return JSONResponse(as_json(transcript), headers=headers)
    if wanted.response_format == "verbose_json":
        return JSONResponse(as_verbose_json(transcript, wanted.granularities, language), headers=headers)
    return PlainTextResponse(as_text(transcript, wanted.response_format), headers=headers)


async def _events(service: ServiceState, loaded: Loaded, work: RecordingTranscription, job: Job) -> AsyncIterator[str]:
    """OpenAI's server-sent events: a delta for each segment as soon as it is recognised, then the whole text."""
    separator = ""
    try:
        async for segment in work.segments(job):
            yield _event({"type": "transcript.text.delta", "delta": separator + segment.text})
            separator = " "
        transcript = work.transcript()
        await service.count(loaded, transcript)
    except Exception as error:  # the status has been sent, so the error is an event too
        yield _event({"type": "error", **error_body(as_service_error(error))})
        return
    done = {"type": "transcript.text.done", "text": transcript.text, "usage": usage(transcript.duration_s)}
    yield _event({**done, **({"warning": work.warning} if work.warning else {})})


def _event(content: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"
