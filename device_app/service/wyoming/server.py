"""The server for Wyoming, the protocol of Home Assistant's voice assistants.

A client sends events: a line of JSON each, the header, which may be followed by audio. The protocol has neither tokens
nor TLS, so the server accepts connections of this machine and of the peers that the user names.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from device_app.remote.trusted_hosts import is_loopback
from device_app.service import ports
from device_app.service.http.connections import Connections
from device_app.service.state import ServiceState
from device_app.service.wyoming.connection import WyomingConnection
from editing.errors import BadInputError

MAX_HEADER = 64 << 10  # bytes of the line of JSON that begins an event
BROADCAST = ipaddress.IPv4Address("255.255.255.255")


@dataclass(frozen=True)
class WyomingAddress:
    """Where to listen for Wyoming.

    Attributes:
        port: 0 switches Wyoming off.
        peers: addresses of other machines that may connect, without encryption; if there are any, all interfaces
            listen, and others are refused.
    """

    port: int = ports.WYOMING
    peers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """
        Raises:
            BadInputError: a peer is not an address of another machine in a private network.
        """
        for peer in self.peers:
            try:
                address = ipaddress.IPv4Address(peer)
            except ValueError:
                raise BadInputError(f"--wyoming-peer {peer!r}: must be the IPv4 address of one machine") from None
            if not address.is_private:
                raise BadInputError(f"--wyoming-peer {peer}: is not of a private network, and Wyoming is not encrypted")
            if address.is_loopback or address.is_unspecified or address.is_multicast or address == BROADCAST:
                raise BadInputError(f"--wyoming-peer {peer}: is not the address of another machine")

    @property
    def host(self) -> str:
        """The address to listen on."""
        return "0.0.0.0" if self.peers else "127.0.0.1"  # noqa: S104 - others are refused


class WyomingServer:
    """Serves Wyoming in the event loop of the service."""

    def __init__(
        self,
        state: ServiceState,
        sockets: Sequence[socket.socket],
        connections: Connections,
        peers: Collection[str] = (),
    ) -> None:
        """
        Args:
            state: the state of the service.
            sockets: listening sockets from `http.connections.listen`.
            connections: the connections that the sockets accept.
            peers: the addresses beyond loopback that may connect.
        """
        self._state, self._sockets, self._connections = state, sockets, connections
        self._peers = frozenset(peers)
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Accepts connections from now on."""
        for one in self._sockets:
            self._servers.append(await asyncio.start_server(self._serve, sock=one, limit=MAX_HEADER))

    async def stop(self, seconds: float) -> None:
        """Accepts no more connections, and waits for the open ones.

        Set `ServiceState.stopping` first: open connections end by it. After `seconds`, those that are left are
        cancelled.
        """
        for server in self._servers:
            server.close()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection and closes it; one from an address that may not connect is closed at once."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._tasks.add(task)
        peer = writer.get_extra_info("peername")
        try:
            if is_loopback(peer[0]) or peer[0] in self._peers:
                with self._connections.request(writer.get_extra_info("sockname"), peer):
                    await self._answer((peer[0], peer[1]), reader, writer)
        except OSError:  # the client has left
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, peer: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await WyomingConnection(self._state, f"{peer[0]}:{peer[1]}", reader, writer).serve()
        finally:
            self._state.metrics.live_ended.labels("wyoming").inc()
