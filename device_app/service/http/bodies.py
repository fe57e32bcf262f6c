"""ASGI middleware: limits the size of request bodies, and the pauses within them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Refusal = Callable[[int, str], Response]  # (HTTP status, message) -> the response


class LimitBodies:
    """Refuses a body that is too large (413) or stops arriving (408).

    A body is too large by its Content-Length, before it is read, or as soon as it exceeds the limit. The connection is
    then closed, so the rest is never read.
    """

    def __init__(self, app: ASGIApp, *, limit: Callable[[str], int], idle_s: float, refusal: Refusal) -> None:
        """
        Args:
            app: the application.
            limit: the limit in bytes for a path.
            idle_s: seconds that a body may pause.
            refusal: makes the response from the status and a message.
        """
        self._app, self._limit, self._idle_s, self._refusal = app, limit, idle_s, refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdigit() and int(announced) > limit:
            await self._refuse(413, _too_large(limit), scope, receive, send)
            return
        body = _Body(receive, limit, self._idle_s)
        is_begun = False

        async def sending(message: Message) -> None:
            nonlocal is_begun
            if body.refused is not None and not is_begun:  # the application has caught the error and answers otherwise
                raise body.refused
            is_begun = True
            await send(message)

        try:
            await self._app(scope, body.receive, sending)
        except _RefusedError as refused:
            if is_begun:
                raise
            await self._refuse(refused.status, str(refused), scope, receive, send)

    async def _refuse(self, status: int, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
        response = self._refusal(status, reason)
        response.headers["Connection"] = "close"
        await response(scope, receive, send)


class _RefusedError(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Body:
    """Receives a body.

    Attributes:
        refused: why the body was not received to its end; None while there is no reason.
    """

    def __init__(self, receive: Receive, limit: int, idle_s: float) -> None:
        self._receive, self._left, self._limit, self._idle_s = receive, limit, limit, idle_s
        self._is_complete = False
        self.refused: _RefusedError | None = None

    async def receive(self) -> Message:
        """The next ASGI message, as the application receives it.

        Raises:
            _RefusedError: the body is too large, or paused for too long.
        """
        if self._is_complete:  # waits for the end of the connection, which may take long
            return await self._receive()
        try:
            async with asyncio.timeout(self._idle_s):
                message = await self._receive()
        except TimeoutError:
            self.refused = _RefusedError(408, f"the body paused for more than {self._idle_s:g} s")
            raise self.refused from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.refused = _RefusedError(413, _too_large(self._limit))
            raise self.refused
        self._is_complete = not message.get("more_body", False)
        return message


def _too_large(limit: int) -> str:
    return f"the body is too large; at most {limit} bytes are accepted"
