"""The log of a server. It has no content: no texts, tokens, names of files, bodies or error messages of libraries."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Literal

from device_app.service.http.requests import EndedRequest

LogFormat = Literal["text", "json"]
FIELDS = ("method", "route", "status", "ms")  # of a request; "ms" are milliseconds

UVICORN = "uvicorn.error"  # the logger of all of uvicorn's messages but the access log

log = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, event, and the fields of a request.

    Of an exception it has the type and the places in the code, but not the message, which may quote data.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        found = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **{name: getattr(record, name) for name in FIELDS if hasattr(record, name)},
        }
        if record.exc_info and record.exc_info[0] is not None:
            found["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            found["at"] = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in frames]
        return json.dumps(found)


class TextFormatter(logging.Formatter):
    """One line of text with the same fields as `JsonFormatter`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        found = json.loads(JsonFormatter().format(record))
        head = [found.pop(name) for name in ("time", "level", "logger", "event")]
        return " ".join([*head, *(f"{name}={value}" for name, value in found.items())])


def configure_logs(style: LogFormat, loggers: Sequence[str], *, verbose: bool) -> None:
    """Writes the log to standard error.

    Args:
        style: text or JSON lines.
        loggers: the names of the loggers that make up the log, beside those of requests and of uvicorn.
        verbose: also log every request, and the start and end of jobs. Otherwise only warnings and errors.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    for name in (__name__, UVICORN, *loggers):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        # uvicorn logs the addresses of WebSockets, whose parameters have words of the user.
        logger.setLevel(logging.INFO if verbose and name != UVICORN else logging.WARNING)


def log_request(request: EndedRequest) -> None:
    """Logs method, route, status and milliseconds of a request; server errors as warnings."""
    fields = {
        "method": request.method,
        "route": request.route,
        "status": request.status,
        "ms": round(1000 * request.seconds),
    }
    log.log(logging.WARNING if request.status >= 500 else logging.INFO, "request", extra=fields)
