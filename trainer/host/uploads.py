"""Bodies of requests: those of JSON are short, those of files go to the disk as they come."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from editing.files import make_folder

BUFFER = 1 << 20
STREAMED = ("/dataset", "/contributions/")


async def append(request: Request, path: Path, room: int, silence_s: float) -> int:
    """Adds the body to a file as it comes; returns how much came. A lost connection ends it and loses nothing.

    Raises:
        HTTPException: more comes than there is room for (413), or nothing comes any more (408).
    """
    await run_in_threadpool(make_folder, path.parent)
    await run_in_threadpool(path.touch, 0o600)
    added = 0
    buffer = bytearray()
    stream = request.stream()
    with await run_in_threadpool(path.open, "ab") as file:
        try:
            while True:
                try:
                    chunk = await asyncio.wait_for(anext(stream), silence_s)
                except StopAsyncIteration:
                    break
                if added + len(buffer) + len(chunk) > room:
                    raise HTTPException(413, "more comes than was announced")
                buffer += chunk
                if len(buffer) >= BUFFER:
                    await run_in_threadpool(file.write, bytes(buffer))
                    added += len(buffer)
                    buffer.clear()
        except TimeoutError:
            raise HTTPException(408, f"nothing came for {silence_s:g} s") from None
        except ClientDisconnect:
            pass
        finally:
            file.write(buffer)
            added += len(buffer)
    return added


class BodyLimit:
    """ASGI: refuses bodies that are longer than JSON need be; those that are streamed have limits of their own."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or any(part in scope["path"] for part in STREAMED):
            await self._app(scope, receive, send)
            return
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise HTTPException(413, f"{self._limit} bytes are the most")
            return message

        await self._app(scope, limited, send)
