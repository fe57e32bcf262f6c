"""Errors as OpenAI's API sends them: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import logging
from typing import Any

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
    for kind in (StarletteHTTPException, BusyError, AsrEdgeError, Exception):
        app.add_exception_handler(kind, _refused)


def as_service_error(error: Exception) -> ServiceError:
    """The HTTP response for an error of the application."""
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


async def _refused(_request: Request, error: Exception) -> Response:
    if isinstance(error, StarletteHTTPException) and not isinstance(error, ServiceError):
        found = ServiceError(error.status_code, str(error.detail))
        found.headers = error.headers
        return error_response(found)
    return error_response(as_service_error(error))


async def _invalid(_request: Request, error: Exception) -> Response:
    first = error.errors()[0] if isinstance(error, RequestValidationError) and error.errors() else {}
    name = str(first.get("loc", ("",))[-1])
    return error_response(ServiceError(400, f"{name}: {first.get('msg', 'not valid')}", parameter=name))
