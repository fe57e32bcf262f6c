"""Request bodies: JSON bodies are limited in size, file uploads are streamed to disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from editing.privacy import make_folder

BUFFER = 1 << 20
STREAMED = ("/dataset", "/contributions/")


async def append_body(request: Request, path: Path, limit: int, idle_timeout_s: float) -> int:
    """Appends a request's body to a file. If the connection is lost, the bytes received so far are kept.

    Args:
        request: whose body is read.
        path: the file; created if missing.
        limit: the most bytes that are accepted.
        idle_timeout_s: the upload fails after this long without data.

    Returns:
        The number of bytes appended.

    Raises:
        HTTPException: the body exceeds the limit (413), or no data arrived in time (408).
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
                    chunk = await asyncio.wait_for(anext(stream), idle_timeout_s)
                except StopAsyncIteration:
                    break
                if added + len(buffer) + len(chunk) > limit:
                    raise HTTPException(413, "the body is larger than announced")
                buffer += chunk
                if len(buffer) >= BUFFER:
                    await run_in_threadpool(file.write, bytes(buffer))
                    added += len(buffer)
                    buffer.clear()
        except TimeoutError:
            raise HTTPException(408, f"no data for {idle_timeout_s:g} s") from None
        except ClientDisconnect:
            pass
        finally:
            file.write(buffer)
            added += len(buffer)
    return added


class BodyLimit:
    """ASGI middleware: refuses JSON bodies above a limit. Streamed uploads have their own limits."""

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
                raise HTTPException(413, f"a body may have {self._limit} bytes at most")
            return message

        await self._app(scope, limited, send)
