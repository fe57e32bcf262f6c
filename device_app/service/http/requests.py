"""Middleware that reports each HTTP request when it has ended, for the log and the metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLIENT_CLOSED_REQUEST = 499  # nginx's status for its log; no client receives it


@dataclass(frozen=True)
class EndedRequest:
    """An HTTP request that has ended.

    Attributes:
        method: as the client sent it.
        route: the template of the path, such as "/jobs/{key}", because a path may hold anything; "-" if none matched.
        status: the status of the response. If the application sent none: 499 if the client disconnected or the request
            was cancelled, otherwise 500, which the server then sends.
        seconds: from the request's header to the end of its response.
    """

    method: str
    route: str
    status: int
    seconds: float


class ReportRequests:
    """ASGI middleware: calls `report` with each HTTP request that has ended."""

    def __init__(self, app: ASGIApp, report: Callable[[EndedRequest], None]) -> None:
        self._app, self._report = app, report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = CLIENT_CLOSED_REQUEST, time.perf_counter()
        is_answered = False

        async def noting_status(message: Message) -> None:
            nonlocal status, is_answered
            if message["type"] == "http.response.start":
                status, is_answered = message["status"], True
            await send(message)

        try:
            await self._app(scope, receive, noting_status)
        except Exception as error:
            if not is_answered and not isinstance(error, ClientDisconnect):
                status = 500
            raise
        finally:
            route = getattr(scope.get("route"), "path", "-")
            self._report(EndedRequest(scope["method"], route, status, time.perf_counter() - started))
