"""What a browser of the network (zeroconf, as in Home Assistant) finds; on the loopback interface only."""

import asyncio
import socket

from zeroconf import ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from device_app.service.wyoming.announcement import TYPE, Announcement, own_address

LOOPBACK = "127.0.0.1"


class Browser:
    """Notes the services that appear and vanish."""

    def __init__(self):
        self.changes = asyncio.Queue()
        self.zeroconf = AsyncZeroconf(interfaces=[LOOPBACK])
        self._browser = AsyncServiceBrowser(self.zeroconf.zeroconf, TYPE, handlers=[self._note])

    def _note(self, zeroconf, service_type, name, state_change):
        if state_change is not ServiceStateChange.Updated:
            self.changes.put_nowait((state_change, name))

    async def next(self, change):
        while True:
            found, name = await asyncio.wait_for(self.changes.get(), 20)
            if found is change:
                return name

    async def close(self):
        await self._browser.async_cancel()
        await self.zeroconf.async_close()


def test_the_service_is_found_until_it_stops():
    async def browse():
        browser = Browser()
        first, second = (Announcement(port, [LOOPBACK], [LOOPBACK]) for port in (10300, 10301))
        try:
            await first.start()
            name = await browser.next(ServiceStateChange.Added)
            info = AsyncServiceInfo(TYPE, name)
            assert await info.async_request(browser.zeroconf.zeroconf, 5000)
            await second.start()  # another service on this machine gets another name
            assert await browser.next(ServiceStateChange.Added) != name
            await first.stop()
            assert await browser.next(ServiceStateChange.Removed) == name
        finally:
            await first.stop()  # nothing to withdraw any more
            await second.stop()
            await browser.close()
        return name, info

    name, info = asyncio.run(browse())
    assert name.startswith(f"asr-edge on {socket.gethostname().partition('.')[0]}"[:60])
    assert (info.port, info.parsed_addresses()) == (10300, [LOOPBACK])


def test_the_address_for_a_peer_is_that_of_the_interface_towards_it():
    assert own_address("127.0.0.2") == LOOPBACK
