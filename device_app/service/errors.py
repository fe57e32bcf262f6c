"""Errors as OpenAI's API sends them: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from device_app.service.models import UnknownModelError
from device_app.service.turns import BusyError
from editing.errors import AsrEdgeError, BadInputError

RETRY_AFTER_S = 5

log = logging.getLogger(__name__)

_TYPES = {401: "authentication_error", 429: "rate_limit_error"}


def error_response(
    status: int,
    message: str,
    *,
    parameter: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error response.

    Args:
        status: the HTTP status.
        message: for people.
        parameter: the parameter of the request that is wrong.
        code: for programs, such as "model_not_found".
        headers: of the response.
    """
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    body = {"error": {"message": message, "type": kind, "param": parameter, "code": code}}
    return JSONResponse(body, status, dict(headers or {}))


class ServiceError(HTTPException):
    """A request is refused; see `error_response`."""

    def __init__(
        self, status: int, message: str, *, parameter: str | None = None, code: str | None = None, retry: bool = False
    ) -> None:
        """
        Args:
            status, message, parameter, code: see `error_response`.
            retry: whether to try again later may help; the response then has Retry-After.
        """
        super().__init__(status, message, {"Retry-After": str(RETRY_AFTER_S)} if retry else None)
        self.parameter, self.code = parameter, code


def add_error_handlers(app: FastAPI) -> None:
    """Makes all errors of an application responses in OpenAI's shape."""
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(BusyError, _busy)
    app.add_exception_handler(AsrEdgeError, _failed)
    app.add_exception_handler(Exception, _broken)


def as_service_error(error: Exception) -> ServiceError:
    """The refusal that an error of the application amounts to."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, BusyError):
        status, code = (429, "too_many_requests") if error.is_of_client else (503, "busy")
        return ServiceError(status, f"{error}; try again in {RETRY_AFTER_S} s", code=code, retry=True)
    if isinstance(error, UnknownModelError):
        return ServiceError(404, str(error), parameter="model", code="model_not_found")
    if isinstance(error, BadInputError):
        return ServiceError(400, str(error))
    if isinstance(error, AsrEdgeError):  # for instance a full disk; its text may name paths
        log.warning("a request failed: %s", type(error).__name__)
        return ServiceError(503, "the service cannot do this now; its log says why", retry=True)
    log.error("a request failed", exc_info=error)
    return ServiceError(500, "the service failed; its log says where")


def response_of(error: Exception) -> JSONResponse:
    """The response to an error."""
    found = as_service_error(error)
    return error_response(
        found.status_code, str(found.detail), parameter=found.parameter, code=found.code, headers=found.headers
    )


async def _refused(_request: Request, error: Exception) -> Response:
    if isinstance(error, ServiceError) or not isinstance(error, StarletteHTTPException):
        return response_of(error)
    return error_response(error.status_code, str(error.detail), headers=error.headers)


async def _invalid(_request: Request, error: Exception) -> Response:
    first = error.errors()[0] if isinstance(error, RequestValidationError) and error.errors() else {}
    name = str(first.get("loc", ("",))[-1])
    return error_response(400, f"{name}: {first.get('msg', 'not valid')}", parameter=name)


async def _busy(_request: Request, error: Exception) -> Response:
    return response_of(error)


_failed = _broken = _busy
