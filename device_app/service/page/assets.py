"""The files of the page, from the wheel."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse

from device_app.service.errors import ServiceError

STATIC = Path(__file__).parent / "static"
TYPES = {  # media types by suffix; other files are not served
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
# The page loads nothing from elsewhere and sends nothing elsewhere. wavesurfer.js needs the nonce for its styles.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter()


@router.get("/", response_class=HTMLResponse)
def page() -> HTMLResponse:
    """The page."""
    nonce = secrets.token_urlsafe(16)
    html = (STATIC / "index.html").read_text("utf-8").replace("{nonce}", nonce)
    headers = {
        "Content-Security-Policy": POLICY.format(nonce=nonce),
        "Cache-Control": "no-store",
        "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    }
    return HTMLResponse(html, headers=headers)


@router.get("/page/static/{path:path}")
def asset(path: str, request: Request) -> Response:
    """A file of the page; 304 if the browser has it.

    Raises:
        ServiceError: there is no such file.
    """
    found = _files().get(path)
    if found is None:
        raise ServiceError(404, "there is no such file")
    # The browser asks each time whether its copy is still the newest, so an update shows at once.
    headers = {"Cache-Control": "no-cache"}
    response = FileResponse(found, media_type=TYPES[found.suffix], headers=headers, stat_result=found.stat())
    if request.headers.get("if-none-match") == response.headers["etag"]:
        return Response(status_code=304, headers={**headers, "ETag": response.headers["etag"]})
    return response


@cache
def _files() -> dict[str, Path]:
    """The files by their path in the URL, which is looked up here and never joined to a folder."""
    return {path.relative_to(STATIC).as_posix(): path for path in _listed()}


def _listed() -> Iterator[Path]:
    """The files that are served."""
    return (path for path in STATIC.rglob("*") if path.is_file() and path.suffix in TYPES)
