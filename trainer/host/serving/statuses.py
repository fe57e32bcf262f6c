"""The error responses of the API, as OpenAPI describes them, and how errors become responses."""

from __future__ import annotations

import logging
import sqlite3
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from editing.errors import AsrEdgeError

FULL_RETRY_AFTER_S = 60  # that a client waits if the disk is full

log = logging.getLogger(__name__)


class ErrorDetail(BaseModel):
    """Why a request was refused."""

    detail: str


_DESCRIPTIONS = {
    400: "The Host header is not of this machine; only of a host without tokens.",
    401: "The token is missing or wrong.",
    404: "This device has no such thing.",
    408: "The body did not arrive in time.",
    409: "The state does not allow this; or the upload was cancelled.",
    410: "The task vector was removed, or the job did not succeed.",
    413: "The body is too large.",
    422: "The request is not valid.",
    429: "Too many requests or jobs; try again after Retry-After seconds.",
    503: "The disk or the queue is full, or the host is starting; try again after Retry-After seconds.",
}
_RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
# The error statuses of every route, of those that need a token, and of those of one job or group.
EVERY = (400, 408, 413, 422, 503)
WITH_TOKEN = (*EVERY, 401, 429)
OF_JOB = (*WITH_TOKEN, 404)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these statuses."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted(set(statuses)):
        found[status] = {"description": _DESCRIPTIONS[status]}
        if status == 422:  # `detail` is a text, or FastAPI's list of invalid fields
            found[status]["content"] = {"application/json": {"schema": {"type": "object", "required": ["detail"]}}}
        elif status == 400:  # a plain text
            found[status]["content"] = {"text/plain": {"schema": {"type": "string"}}}
        else:
            found[status]["model"] = ErrorDetail
        if status in (429, 503):
            found[status]["headers"] = _RETRY_AFTER
    return found


def add_error_handlers(api: FastAPI) -> None:
    """Answers 422 to input that cannot be used, and 503 while the disk cannot be written."""
    api.add_exception_handler(AsrEdgeError, _refused)
    api.add_exception_handler(OSError, _unavailable)
    api.add_exception_handler(sqlite3.OperationalError, _unavailable)


def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, OSError):
        return _unavailable(request, error)
    return JSONResponse({"detail": str(error)}, 422)


def _unavailable(_request: Request, error: Exception) -> Response:
    """A full disk, or one that cannot be written; does not reveal the path."""
    log.warning("a request failed because the disk could not be written: %s", type(error).__name__)
    detail = "the host's disk is full or cannot be written"
    return JSONResponse({"detail": detail}, 503, {"Retry-After": str(FULL_RETRY_AFTER_S)})


def upload_cancelled() -> HTTPException:
    """The response to an upload whose job was cancelled meanwhile."""
    return HTTPException(409, "the job was cancelled")
