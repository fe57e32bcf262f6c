"""Errors as OpenAI's API sends them: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from device_app.service.http.requests import CLIENT_CLOSED_REQUEST
from device_app.service.models import UnknownModelError
from device_app.service.turns import BusyError, StoppingError
from editing.errors import AsrEdgeError, BadInputError, one_line

RETRY_AFTER_S = 5  # when a client should try again

log = logging.getLogger(__name__)

NORMAL, REFUSED, TRY_AGAIN = 1000, 1008, 1013  # close codes of WebSockets (RFC 6455 and its registry)

_EXPECTED = {"float_parsing": "a number", "int_parsing": "a whole number"}  # by pydantic's types of errors
_TYPES = {401: "authentication_error", 429: "rate_limit_error"}  # OpenAI's names, by HTTP status


class ServiceError(HTTPException):
    """A request is refused."""

    def __init__(
        self, status: int, message: str, *, parameter: str | None = None, code: str | None = None, retry: bool = False
    ) -> None:
        """
        Args:
            status: the HTTP status.
            message: for people.
            parameter: the parameter of the request that is wrong.
            code: for programs, such as "model_not_found".
            retry: whether to try again later may help; the response then has Retry-After.
        """
        super().__init__(status, message, {"Retry-After": str(RETRY_AFTER_S)} if retry else None)
        self.parameter, self.code = parameter, code


def error_body(error: ServiceError) -> dict[str, Any]:
    """The JSON object of an error."""
    kind = _TYPES.get(error.status_code, "server_error" if error.status_code >= 500 else "invalid_request_error")
    return {"error": {"message": str(error.detail), "type": kind, "param": error.parameter, "code": error.code}}


def error_response(error: ServiceError) -> JSONResponse:
    """The response to an error."""
    return JSONResponse(error_body(error), error.status_code, dict(error.headers or {}))


def add_error_handlers(app: FastAPI) -> None:
    """Makes all errors of an application responses in OpenAI's shape."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(WebSocketRequestValidationError, _invalid_socket)  # type: ignore[arg-type]
    app.add_exception_handler(ClientDisconnect, _left)
    for kind in (StarletteHTTPException, BusyError, StoppingError, AsrEdgeError, Exception):
        app.add_exception_handler(kind, _refused)


def as_service_error(error: Exception) -> ServiceError:
    """The HTTP response for an error of the application."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, BusyError | StoppingError):
        status = 429 if isinstance(error, BusyError) and error.is_of_client else 503
        return ServiceError(status, f"{error}; try again in {RETRY_AFTER_S} s", code=error.code, retry=True)
    if isinstance(error, UnknownModelError):
        return ServiceError(404, str(error), parameter="model", code="model_not_found")
    if isinstance(error, BadInputError):
        return ServiceError(400, str(error))
    if isinstance(error, AsrEdgeError):  # for instance a full disk; its text may name paths
        log.warning("a request failed: %s", type(error).__name__)
        return ServiceError(503, "the service cannot do this now; its log says why", retry=True)
    log.error("a request failed", exc_info=error)
    return ServiceError(500, "the service failed; its log says where")


async def refuse_socket(socket: WebSocket, error: ServiceError) -> None:
    """Sends an error through a WebSocket that is open, and closes it."""
    retry = (error.headers or {}).get("Retry-After")
    again = {} if retry is None else {"retry_after_s": int(retry)}
    try:
        await socket.send_json({"type": "error", **error_body(error), **again})
        await socket.close(REFUSED if retry is None else TRY_AGAIN)
    except (WebSocketDisconnect, RuntimeError):  # the client has left meanwhile
        pass


async def _refused(request: Request, error: Exception) -> Response:
    """The response to any error of a route, also to those of Starlette itself, such as an unknown path."""
    if isinstance(error, StarletteHTTPException) and not isinstance(error, ServiceError):
        found = ServiceError(error.status_code, _reason(request, error))
        found.headers = error.headers
        return error_response(found)
    return error_response(as_service_error(error))


async def _left(_request: Request, _error: Exception) -> Response:
    """The end of a request whose client left while it sent the body. Nobody receives it, and it is no failure."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def _reason(request: Request, error: StarletteHTTPException) -> str:
    """What is wrong with a request that fits no route."""
    path = one_line(request.url.path, 100)
    if error.status_code == 404:
        return f"there is nothing at {path}"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return f"{path} does not take {request.method}" + (f", but {allowed}" if allowed else "")
    return str(error.detail)


async def _invalid(_request: Request, error: Exception) -> Response:
    """The response to a request with a parameter that FastAPI does not accept."""
    return error_response(_invalid_parameter(error.errors() if isinstance(error, RequestValidationError) else ()))


async def _invalid_socket(socket: WebSocket, error: WebSocketRequestValidationError) -> None:
    """Accepts the connection first, because a client cannot read why one was not accepted."""
    await socket.accept()
    await refuse_socket(socket, _invalid_parameter(error.errors()))


def _invalid_parameter(errors: Sequence[Any]) -> ServiceError:
    """The first of pydantic's errors, as one of the service."""
    first = errors[0] if errors else {}
    name = str(first.get("loc", ("",))[-1])
    expected = _EXPECTED.get(str(first.get("type", "")))
    given = one_line(str(first.get("input", "")), 60)
    reason = first.get("msg", "not valid") if expected is None else f"{given!r} is not {expected}"
    return ServiceError(400, f"{name}: {reason}", parameter=name)
