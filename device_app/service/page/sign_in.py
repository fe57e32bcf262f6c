"""POST /page/sign-in: a browser on another machine exchanges a token for a cookie."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from device_app.service.errors import ServiceError
from device_app.service.security import COOKIE

YEAR_S = 365 * 24 * 3600

router = APIRouter()


class Token(BaseModel):
    """What the person typed, which need not be a valid token."""

    token: str = Field(max_length=200, pattern=r"^[\x21-\x7e]*$")


@router.post("/page/sign-in", status_code=204)
async def sign_in(sent: Token, request: Request) -> Response:
    """Sets the cookie that `Guard` reads. The cookie is checked at the next request, as every token is.

    Raises:
        ServiceError: the connection is not encrypted.
    """
    if request.url.scheme != "https":
        raise ServiceError(400, "a token is sent only over TLS")
    response = Response(status_code=204)
    response.set_cookie(COOKIE, sent.token, max_age=YEAR_S, secure=True, httponly=True, samesite="strict")
    return response
