"""ASGI middleware: reads JSON bodies within limits of size and time, and refuses what is not strict JSON."""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from editing.json_text import JSONTextError, parse_json

STREAMED = ("/dataset", "/contributions/")  # parts of the paths of uploads, whose bodies are not JSON
TIMEOUT_S = 20.0  # in which a whole body must arrive


class _TooLargeError(Exception):
    pass


class JsonBodies:
    """Reads a request's body before the application does; streamed uploads have limits of their own.

    The application would answer 500 to NaN, to half of a surrogate pair and to bytes that are not UTF-8,
    because it quotes them in its error response.
    """

    def __init__(self, app: ASGIApp, limit: int, timeout_s: float = TIMEOUT_S) -> None:
        """
        Args:
            app: the application.
            limit: bytes of a body.
            timeout_s: seconds in which the whole body must arrive.
        """
        self._app, self._limit, self._timeout_s = app, limit, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or any(part in scope["path"] for part in STREAMED):
            await self._app(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(self._read(receive), self._timeout_s)
            if body and scope["method"] == "POST":
                parse_json(body, strict=True)
        except TimeoutError:
            refused = JSONResponse({"detail": f"the body did not arrive within {self._timeout_s:g} s"}, 408)
        except _TooLargeError:
            refused = JSONResponse({"detail": f"a body may have {self._limit} bytes at most"}, 413)
        except JSONTextError:  # its text may quote the body
            refused = JSONResponse({"detail": "the body is not strict JSON (RFC 8259), or is nested too deep"}, 422)
        else:
            if body is not None:
                await self._app(scope, _replayed(body, receive), send)
            return
        await refused(scope, receive, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body; None if the client disconnected."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._limit:
                raise _TooLargeError
            if not message.get("more_body", False):
                return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body that was read, and then whatever `receive` returns."""
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
