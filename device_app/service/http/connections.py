"""Limits on open connections, so that idle ones cannot lock other clients out.

The limits apply when a connection is accepted, before TLS, because a client that never starts the
handshake would otherwise hold memory and a file descriptor without being counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

# Defaults of `Connections`.
CONNECTIONS = 1024
CONNECTIONS_OF_ADDRESS = 256
FIRST_REQUEST_S = 15.0

BACKLOG = 256  # connections that wait to be accepted; see listen(2)

Ends = tuple[tuple[str, int], tuple[str, int]]  # address and port of this end of a connection, and of the other


class AcceptedSocket(socket.socket):
    """An accepted connection.

    Attributes:
        client: the address or network that it counts for; see `_network`.
        on_close: called when it is closed, perhaps more than once.
        active: the number of its requests that are being answered.
        had_request: whether a complete request header has arrived.
        is_replaced: whether it was ended here, and counts no more; the event loop has not closed it yet.
    """

    client: str
    on_close: Callable[[], None]
    active = 0
    had_request = False
    is_replaced = False

    def close(self) -> None:
        """Closes the connection and frees its place."""
        super().close()
        self.on_close()

    def abort(self) -> None:
        """Ends the connection; the event loop then reads its end and closes it."""
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)


class Connections:
    """All open connections of a server.

    A connection counts until it is closed. At a limit, a new one replaces an idle connection. At the limit of an
    address, it is one of that address; at the total limit, one of the address that has the most connections among
    those with an idle one. Its oldest idle connection without a request is replaced; if all have had a request, its
    oldest idle one. Without an idle connection to replace, the new one is refused. A connection without a request
    ends after `first_request_s`.
    """

    def __init__(
        self,
        limit: int = CONNECTIONS,
        limit_of_address: int = CONNECTIONS_OF_ADDRESS,
        first_request_s: float = FIRST_REQUEST_S,
        proxies: Collection[str] = (),
    ) -> None:
        """
        Args:
            limit: open connections in total.
            limit_of_address: open connections of one IPv4 address, or of one IPv6 network of 64 bits.
            first_request_s: seconds for the TLS handshake and the first request header together.
            proxies: addresses to which only the total limit applies, because all clients of a proxy have its address.
        """
        self._limit, self._limit_of_address = limit, limit_of_address
        self._first_request_s = first_request_s
        self._proxies = frozenset(map(_network, proxies))
        self._open: dict[AcceptedSocket, Ends] = {}  # in the order of acceptance; also replaced ones
        self._by_ends: dict[Ends, AcceptedSocket] = {}  # the newest: a client may reuse the port of a replaced one
        self._of_client: Counter[str] = Counter()  # without replaced ones

    def __len__(self) -> int:
        return self._of_client.total()

    def admit(self, accepted: socket.socket, peer: Any) -> AcceptedSocket | None:
        """Counts a new connection; returns None, after closing it, if there is no place for it.

        Args:
            accepted: the connection; the returned socket takes over its file descriptor.
            peer: the address of the other end, as `socket.accept` returns it.
        """
        client, ends = _network(peer[0]), _ends(accepted.getsockname(), peer)
        is_full = client not in self._proxies and self._of_client[client] >= self._limit_of_address
        if is_full and not self._replace_idle(client):
            accepted.close()
            return None
        if len(self) >= self._limit and not self._replace_idle():
            accepted.close()
            return None
        connection = AcceptedSocket(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        connection.client = client
        timer = asyncio.get_running_loop().call_later(self._first_request_s, self._expire, connection)
        connection.on_close = lambda: self._closed(connection, timer)
        self._open[connection] = ends
        self._by_ends[ends] = connection
        self._of_client[client] += 1
        return connection

    @contextlib.contextmanager
    def request(self, local: Any, peer: Any) -> Iterator[None]:
        """Marks a connection as active during a request.

        Args:
            local: the address of this end, as `socket.getsockname` returns it.
            peer: the address of the other end, as `socket.accept` returns it. It does not suffice, because a client
                may connect to two addresses of this machine from the same port.
        """
        connection = self._by_ends.get(_ends(local, peer))
        if connection is None:
            yield
            return
        connection.had_request = True
        connection.active += 1
        try:
            yield
        finally:
            connection.active -= 1

    def _replace_idle(self, client: str | None = None) -> bool:
        """Ends an idle connection of a client, or of the one with the most; returns whether there was one."""
        idle = [
            (-self._of_client[connection.client], connection.had_request, order, connection)
            for order, connection in enumerate(self._open)
            if not connection.is_replaced and not connection.active and client in (None, connection.client)
        ]
        if not idle:
            return False
        self._end(min(idle)[-1])
        return True

    def _expire(self, connection: AcceptedSocket) -> None:
        """Ends a connection whose first request has not arrived in time."""
        if connection in self._open and not connection.had_request and not connection.is_replaced:
            self._end(connection)

    def _end(self, connection: AcceptedSocket) -> None:
        """Ends a connection. It stops counting now, and is closed when the event loop reads its end."""
        connection.is_replaced = True
        self._uncount(connection.client)
        connection.abort()

    def _uncount(self, client: str) -> None:
        self._of_client[client] -= 1
        if self._of_client[client] <= 0:
            del self._of_client[client]

    def _closed(self, connection: AcceptedSocket, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        if connection not in self._open:  # closed twice
            return
        ends = self._open.pop(connection)
        if self._by_ends.get(ends) is connection:
            del self._by_ends[ends]
        if not connection.is_replaced:
            self._uncount(connection.client)


def _ends(local: Any, peer: Any) -> Ends:
    """The two ends of a connection; addresses of IPv6 have more than an address and a port."""
    return (local[0], local[1]), (peer[0], peer[1])


def _network(address: str) -> str:
    """The address that a connection counts for: an IPv6 client usually has a whole network of 64 bits."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.ip_network((found, 64), strict=False))
        found = found.ipv4_mapped
    return str(found)


class ListeningSocket(socket.socket):
    """A listening socket whose connections are counted."""

    connections: Connections

    def accept(self) -> tuple[socket.socket, Any]:
        """
        Raises:
            ConnectionAbortedError: the connection was refused, as if the client had closed it.
        """
        accepted, peer = super().accept()
        admitted = self.connections.admit(accepted, peer)
        if admitted is None:
            raise ConnectionAbortedError("too many connections")
        return admitted, peer


def listen(host: str, port: int, connections: Connections) -> list[socket.socket]:
    """Listens on all addresses of a host name.

    Raises:
        OSError: none of them can be listened on.
    """
    found = dict.fromkeys(
        (family, address[:2])
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    )
    sockets: list[socket.socket] = []
    failed: OSError | None = None
    for family, (host_address, host_port) in found:
        try:
            plain = socket.create_server((str(host_address), int(host_port)), family=family, backlog=BACKLOG)
        except OSError as error:
            failed = error
            continue
        sockets.append(count_connections(plain, connections))
    if failed is not None and not sockets:
        raise failed
    return sockets


def why_not_listening(error: OSError) -> str:
    """Why `listen` failed, in words."""
    if error.errno == errno.EADDRINUSE:
        return "another program listens there already, perhaps an asr-edge that runs"
    if error.errno == errno.EADDRNOTAVAIL:
        return "it is not an address of this machine"
    return (error.strerror or str(error)).partition(" (while attempting")[0]  # Python adds the address


def count_connections(plain: socket.socket, connections: Connections) -> ListeningSocket:
    """A listening socket of IPv4 or IPv6 as one whose connections are counted; takes over its file descriptor."""
    listening = ListeningSocket(plain.family, plain.type, plain.proto, fileno=plain.detach())
    listening.connections = connections
    return listening


class TrackRequests:
    """ASGI middleware, the outermost: tells `Connections` which connections are active."""

    def __init__(self, app: ASGIApp, connections: Connections) -> None:
        self._app, self._connections = app, connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not scope.get("client") or not scope.get("server"):
            await self._app(scope, receive, send)
            return
        with self._connections.request(scope["server"], scope["client"]):
            await self._app(scope, receive, send)
