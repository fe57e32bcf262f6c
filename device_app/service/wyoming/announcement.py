"""Announces the Wyoming server in the local network (mDNS), so that Home Assistant finds it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from zeroconf import NonUniqueNameException
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

TYPE = "_wyoming._tcp.local."
DISCARD = 9  # the port of the discard protocol; any port serves, because connecting a UDP socket sends nothing


class Announcement:
    """An mDNS announcement, from `start` to `stop`."""

    def __init__(self, port: int, addresses: Sequence[str], interfaces: Sequence[str] | None = None) -> None:
        """
        Args:
            port: the port of the Wyoming server.
            addresses: the addresses of this machine, at which the server can be reached.
            interfaces: addresses of the interfaces to announce on; None: those of `addresses`.
        """
        name = f"asr-edge on {socket.gethostname().partition('.')[0]}"[:60]  # a DNS label has at most 63 bytes
        self._info = AsyncServiceInfo(TYPE, f"{name}.{TYPE}", port=port, parsed_addresses=list(addresses))
        self._interfaces = list(addresses if interfaces is None else interfaces)
        self._zeroconf: AsyncZeroconf | None = None

    async def start(self) -> None:
        """Announces the server. If all variants of its name are taken in the network, it stays unannounced.

        Raises:
            OSError: there is no such interface.
        """
        self._zeroconf = AsyncZeroconf(interfaces=self._interfaces)
        try:
            await self._zeroconf.async_register_service(self._info, allow_name_change=True)
        except NonUniqueNameException:
            await self.stop()

    async def stop(self) -> None:
        """Withdraws the announcement."""
        if self._zeroconf is not None:
            await self._zeroconf.async_unregister_all_services()
            await self._zeroconf.async_close()
            self._zeroconf = None


def own_address(peer: str) -> str:
    """The address of this machine from which a peer is reached.

    Raises:
        OSError: there is no route to the peer.
    """
    family = socket.AF_INET6 if ipaddress.ip_address(peer).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as found:
        found.connect((peer, DISCARD))
        return str(found.getsockname()[0])
