"""ASGI middleware: answers requests that the server cancels because it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class AnswerCancelled:
    """Answers a request whose task is cancelled, which uvicorn does to those that outlast its graceful shutdown.

    uvicorn itself would send a 500 in plain text. A response that has begun is cut off.
    """

    def __init__(self, app: ASGIApp, *, refusal: Callable[[], Response]) -> None:
        """
        Args:
            app: the application.
            refusal: makes the response.
        """
        self._app, self._refusal = app, refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_begun = False

        async def noting_begin(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting_begin)
        except asyncio.CancelledError:
            if scope["type"] != "http" or is_begun:
                raise
            response = self._refusal()
            response.headers["Connection"] = "close"
            await response(scope, receive, send)
