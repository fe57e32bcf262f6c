"""POST /v1/audio/transcriptions: a recording -> its transcript."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException
from starlette.types import Receive, Scope, Send

from device_app.service.errors import ServiceError, as_service_error, error_body
from device_app.service.openai.disconnect import unless_gone
from device_app.service.openai.form import TranscriptionRequest
from device_app.service.openai.results import as_json, as_text, as_verbose_json, usage
from device_app.service.recordings import RecordingTranscription
from device_app.service.state import Client, Job, Service

MOST_FIELDS = 50
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
        transcriber = await service.transcriber(loaded, wanted.keyterms)
        job = stack.enter_context(service.job(client))
        work = RecordingTranscription(transcriber, wanted.file.file, wanted.file.filename or "recording")
        if wanted.stream:
            return _EventStream(_events(work, job), stack.pop_all())
        await unless_gone(request, _all(work, job))
        await service.note(loaded, work.transcript())
    return _response(wanted, work)


async def _form(request: Request) -> FormData:
    """
    Raises:
        ServiceError: the body is not a form.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ServiceError(400, "the body must be multipart/form-data with the recording in the field file")
    try:
        return await request.form(max_files=1, max_fields=MOST_FIELDS)
    except MultiPartException as error:
        raise ServiceError(400, f"the form cannot be read ({error.message})") from error


async def _all(work: RecordingTranscription, job: Job) -> None:
    async for _segment in work.segments(job):
        pass


def _response(wanted: TranscriptionRequest, work: RecordingTranscription) -> Response:
    transcript = work.transcript()
    headers = {WARNING: work.warning.encode("ascii", "backslashreplace").decode()} if work.warning else {}
    if wanted.response_format == "json":
        return JSONResponse(as_json(transcript), headers=headers)
    if wanted.response_format == "verbose_json":
        return JSONResponse(as_verbose_json(transcript, wanted.granularities), headers=headers)
    return PlainTextResponse(as_text(transcript, wanted.response_format), headers=headers)


class _EventStream(StreamingResponse):
    """Server-sent events; frees what belongs to the request when it ends, also if the client has left."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], stack: AsyncExitStack) -> None:
        super().__init__(events, headers={"Cache-Control": "no-store"})
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            await super().__call__(scope, receive, send)


async def _events(work: RecordingTranscription, job: Job) -> AsyncIterator[str]:
    """OpenAI's events: a delta for each segment as soon as it is recognised, then the whole text."""
    separator = ""
    try:
        async for segment in work.segments(job):
            yield _event({"type": "transcript.text.delta", "delta": separator + segment.text})
            separator = " "
    except Exception as error:  # the status has been sent, so the error is an event too
        yield _event({"type": "error", **error_body(as_service_error(error))})
        return
    transcript = work.transcript()
    done = {"type": "transcript.text.done", "text": transcript.text, "usage": usage(transcript.duration_s)}
    yield _event({**done, **({"warning": work.warning} if work.warning else {})})


def _event(content: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"
