"""The Wyoming server: which machines it serves. What it answers is in test_live.py."""

import asyncio
from types import SimpleNamespace

import pytest

from device_app.service.http.connections import Connections, listen
from device_app.service.metrics import Metrics
from device_app.service.wyoming import server as module
from device_app.service.wyoming.server import WyomingServer


class Greeting:
    """Takes the place of `WyomingConnection`; says how many requests of each connection are being answered."""

    def __init__(self, state, _client, _reader, writer):
        self._connections, self._writer = state.connections, writer

    async def serve(self):
        self._writer.write(repr([one.active for one in self._connections._open]).encode())


@pytest.mark.parametrize(
    ("is_own_machine", "peers", "is_served"),
    [(True, (), True), (False, ("127.0.0.1",), True), (False, (), False)],
)
def test_a_machine_that_is_no_peer_is_refused_and_no_live_connection(monkeypatch, is_own_machine, peers, is_served):
    monkeypatch.setattr(module, "WyomingConnection", Greeting)
    monkeypatch.setattr(module, "is_loopback", lambda _address: is_own_machine)
    metrics = Metrics()

    async def connect():
        connections = Connections()
        (listening,) = listen("127.0.0.1", 0, connections)
        state = SimpleNamespace(metrics=metrics, connections=connections)
        server = WyomingServer(state, [listening], connections, peers)
        await server.start()
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await server.stop(20)
        return answer

    assert asyncio.run(connect()) == (b"[1]" if is_served else b"")
    assert ('asr_edge_live_ended_total{protocol="wyoming"} 1.0' in metrics.text(0, 0).decode()) == is_served
