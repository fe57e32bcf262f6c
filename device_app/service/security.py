"""Who may use the service: the Host and Origin headers, and tokens.

A page of another site in a browser of this machine can send requests to the loopback interface. Three checks keep it
out: the Host header must be a name of this service (against DNS rebinding), the Origin must be the service itself, and
the browser must not say that the request comes from another site (Sec-Fetch-Site). Beyond loopback, every request
needs a token too.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from device_app.service.clients import Clients
from device_app.service.errors import REFUSED, ServiceError, error_response
from editing.errors import AsrEdgeError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
COOKIE = "asr-edge-token"  # set by a page, which cannot send a header with a WebSocket

# No other site may embed the answers of the service or read them.
HEADERS = {
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Access:
    """Who may use the service, as `Guard` enforces it.

    Attributes:
        names: the names and addresses by which clients reach the service, without port; IPv6 addresses in brackets.
        clients: the clients with a token; None if no token is needed.
        public: paths that need no token, such as a page at which the user enters one. One that ends in "/" stands for
            all paths below it too, except "/" itself.
    """

    names: frozenset[str] = frozenset(LOOPBACK_NAMES)
    clients: Clients | None = None
    public: frozenset[str] = field(default=frozenset())

    def is_public(self, path: str) -> bool:
        """Whether a path needs no token."""
        return path in self.public or any(path.startswith(one) for one in self.public if one.endswith("/") and one[1:])


class Guard:
    """ASGI middleware: refuses what `Access` does not allow, and notes who calls.

    `scope["asr_edge.client"]` is the name of the client whose token was sent, or else the address and port of the
    connection.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if refusal := self._foreign(scope, headers):
            await self._refuse(403, refusal, scope, receive, send)
            return
        client = self._client(scope, headers)
        if client is None:
            await self._refuse(401, "this service needs a token: Authorization: Bearer TOKEN", scope, receive, send)
            return
        scope["asr_edge.client"] = client
        await self._app(scope, receive, _with_headers(send))

    def _foreign(self, scope: Scope, headers: Headers) -> str:
        """Why a request may come from a page of another site; empty if it does not."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _name(hosts[0]) not in self._access.names:
            return "the Host header is not a name of this service"
        origins = headers.getlist("origin")
        if any(not _is_same_origin(origin, scope, hosts[0]) for origin in origins):
            return "requests of pages of other sites are refused (Origin)"
        if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
            return ""
        is_link = scope["type"] == "http" and scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if is_link and headers.get("sec-fetch-dest") == "document":
            return ""
        return "requests of pages of other sites are refused (Sec-Fetch-Site)"

    def _client(self, scope: Scope, headers: Headers) -> str | None:
        """The client of a request; None if it needs a token and has none that is valid."""
        clients = self._access.clients
        address = ":".join(map(str, scope.get("client") or ("",)))
        if clients is None:
            return address
        token = _token(headers)
        try:
            found = clients.find(token) if token else None
        except AsrEdgeError as error:
            log.warning("all requests are refused: %s", error)
            found = None
        if found is not None:
            return found
        return address if self._access.is_public(scope["path"]) else None

    async def _refuse(self, status: int, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose(REFUSED, reason)(scope, receive, send)
            return
        response = error_response(ServiceError(status, reason))
        response.headers["Connection"] = "close"  # its body is not read
        if status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        await response(scope, receive, _with_headers(send))


def _name(host: str) -> str:
    """The name in a Host header, without the port."""
    name, has_port, port = host.lower().rpartition(":")
    return name if has_port and port.isdigit() else host.lower()


def _is_same_origin(origin: str, scope: Scope, host: str) -> bool:
    """Whether an Origin header names the address that the request was sent to."""
    secure = scope["scheme"] in ("https", "wss")
    try:
        parts = urlsplit(origin.lower())
    except ValueError:  # for instance brackets that do not contain an IPv6 address
        return False
    return parts.scheme == ("https" if secure else "http") and parts.netloc == host.lower()


def _token(headers: Headers) -> str:
    """The token in the Authorization header or, without one, in the cookie; empty if there is none."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie is not None else ""


def _with_headers(send: Send) -> Send:
    """A `send` that adds `HEADERS` to the response."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
