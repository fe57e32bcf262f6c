"""The WebSocket /v1/audio/live: 16-bit PCM in, partial and final texts out. docs/service.md describes the messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from device_app.audio.samples import SAMPLE_RATE, SAMPLE_RATES
from device_app.recognition.results import Update
from device_app.recognition.transcriber import PARTIAL_S
from device_app.recognition.writers import segment_record
from device_app.service.errors import NORMAL, ServiceError, as_service_error, refuse_socket
from device_app.service.live.session import LiveSession
from device_app.service.models import NAME
from device_app.service.parameters.keyterms import keyterms_of
from device_app.service.parameters.languages import check_language
from device_app.service.state import Client, Service, ServiceState
from editing.json_text import JSONTextError, parse_json
from editing.ranges import Range

FINISH = "finish"

router = APIRouter()


@router.websocket("/v1/audio/live")
async def live(
    socket: WebSocket,
    service: Service,
    client: Client,
    model: str = NAME,
    sample_rate: Annotated[float, Query()] = SAMPLE_RATE,
    partials: Annotated[float, Query()] = 0.5,
    prompt: str = "",
    language: str = "",
) -> None:
    """Recognises live audio until the client finishes or leaves.

    Args:
        socket, service, client: the connection, and what FastAPI fills in.
        model: the name of the model.
        sample_rate: of the audio, in Hz.
        partials: seconds of audio between two partial texts; 0 for none.
        prompt: keyterms, see `keyterms_of`.
        language: see `check_language`.
    """
    await socket.accept()
    try:
        with service.live(client) as job:
            loaded = await service.model(model)
            check_language(language, loaded.transcriber.language)
            transcriber = await service.transcriber(loaded, keyterms_of(prompt))
            _check("sample_rate", sample_rate, SAMPLE_RATES)
            _check("partials", partials, PARTIAL_S)
            session = LiveSession(transcriber, job, sample_rate, partial_s=partials)
            await socket.send_json({"type": "ready", "model": model, "sample_rate": sample_rate})
            try:
                async for block in _blocks(socket, service):
                    await _send(socket, await session.feed(block))
                await _send(socket, await session.finish())
            finally:
                await service.count(loaded, session.transcript())
        await socket.send_json({"type": "done", "text": session.transcript().text})
        await socket.close(NORMAL)
    except WebSocketDisconnect:
        pass
    except Exception as error:
        await refuse_socket(socket, as_service_error(error))
    finally:
        service.metrics.live_ended.labels("websocket").inc()


def _check(parameter: str, value: float, allowed: Range) -> None:
    """
    Raises:
        ServiceError: the value of the parameter is out of range.
    """
    if value not in allowed:
        raise ServiceError(400, f"{parameter} is {value:.12g}; expected {allowed.expected}", parameter=parameter)


async def _blocks(socket: WebSocket, service: ServiceState) -> AsyncIterator[bytes]:
    """Yields the blocks of audio until the client finishes, or the service stops.

    Raises:
        WebSocketDisconnect: the client has left.
        ServiceError: nothing arrived for too long, or a message is not one of the protocol.
    """
    while (message := await service.unless_stopping(_received(socket, service.limits.idle_s))) is not None:
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", NORMAL))
        if (data := message.get("bytes")) is not None:
            yield data
        elif _is_finish(message.get("text") or ""):
            return
        else:
            raise ServiceError(400, 'expected audio in binary messages, or {"type": "finish"}')


async def _received(socket: WebSocket, seconds: float) -> Mapping[str, Any]:
    """The next message; waits for at most this long.

    Raises:
        ServiceError: none arrived.
    """
    try:
        async with asyncio.timeout(seconds):
            return await socket.receive()
    except TimeoutError:
        raise ServiceError(408, f"no audio for {seconds:g} s") from None


def _is_finish(text: str) -> bool:
    try:
        message = parse_json(text)
    except JSONTextError:
        return False
    return isinstance(message, dict) and message.get("type") == FINISH


async def _send(socket: WebSocket, updates: Iterable[Update]) -> None:
    for update in updates:
        kind = "final" if update.is_final else "partial"
        await socket.send_json({"type": kind, **segment_record(update.segment)})
