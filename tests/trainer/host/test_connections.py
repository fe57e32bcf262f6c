"""Connections to a host: idle ones end, and cannot lock other clients out, from the same address or another."""

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from pathlib import Path

import httpx2 as httpx
import pytest

from device_app.remote.tls import AUTHORITY, CERTIFICATE, CERTIFICATE_KEY
from device_app.service.http.connections import Connections, _network
from device_app.service.http.sockets import only_tls_1_3
from tests.conftest import until
from trainer.host.limits import Limits


@pytest.fixture
def pinned(host_home, keys):
    return ssl.create_default_context(cafile=str(host_home / "host" / AUTHORITY))


@pytest.fixture
def serve_tls(serve, host_home):
    folder = host_home / "host"

    def start(connections, **options):
        return serve(
            connections=connections,
            ssl_certfile=str(folder / CERTIFICATE),
            ssl_keyfile=str(folder / CERTIFICATE_KEY),
            ssl_context_factory=only_tls_1_3,
            **options,
        )

    return start


@pytest.fixture
def idle():
    """Opens idle connections from a loopback address; a context shakes hands over TLS."""
    with contextlib.ExitStack() as stack:

        def open_one(url, address="127.0.0.1", context=None):
            port = int(url.rsplit(":", 1)[1])
            opened = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(address, 0))
            stack.callback(opened.close)
            if context is not None:
                opened = context.wrap_socket(opened, server_hostname="127.0.0.1")
                stack.callback(opened.close)
            return opened

        yield open_one


def is_healthy(url, context=None, address=None):
    transport = httpx.HTTPTransport(verify=context or True, local_address=address)
    with httpx.Client(transport=transport, timeout=20) as client:
        return client.get(f"{url}/v1/health").status_code == 200


def has_ended(connection):
    connection.settimeout(20)
    try:
        return connection.recv(1) == b""
    except (ConnectionError, ssl.SSLError):
        return True


@pytest.mark.parametrize("shakes_hands", [False, True])
def test_idle_connections_lock_nobody_out(serve_tls, pinned, idle, shakes_hands):
    connections = Connections(limit=12, limit_of_address=8, first_request_s=600)
    url = serve_tls(connections)
    opened = [idle(url, "127.0.0.2", pinned if shakes_hands else None) for _ in range(30)]
    assert is_healthy(url, pinned)
    assert is_healthy(url, pinned, "127.0.0.2")  # a neighbour at the same address
    assert len(connections) <= 9
    assert has_ended(opened[0])  # the oldest gave its place to the newest


def test_many_addresses_stay_within_the_total_limit(serve_tls, pinned, idle):
    connections = Connections(limit=12, limit_of_address=8, first_request_s=600)
    url = serve_tls(connections)
    for number in range(2, 42):
        idle(url, f"127.0.0.{number}")
    assert is_healthy(url, pinned)
    until(lambda: len(connections) <= 12)


def test_a_connection_without_a_request_ends(serve_tls, pinned, idle):
    url = serve_tls(Connections(first_request_s=0.5))
    silent, greeted = idle(url), idle(url, context=pinned)
    partial = idle(url, context=pinned)
    partial.sendall(b"GET /v1/health HTTP/1.1\r\nHost: ")
    assert all(has_ended(one) for one in (silent, greeted, partial))
    assert is_healthy(url, pinned)


def test_a_connection_with_a_request_is_never_replaced(serve, client_of, idle):
    """Here an event stream: it is open for longer than the time limit of the first request."""
    connections = Connections(limit=3, limit_of_address=3, first_request_s=0.2)
    url = serve(connections=connections)
    phone = client_of(url)
    job = phone.post(
        "/v1/jobs",
        json={
            "key": "0" * 32,
            "base": "a" * 64,
            "edits": [],
            "dataset": {"sha256": "a" * 64, "bytes": 10},
            "settings": {"epochs": 1},
        },
    ).json()["id"]
    with phone.stream("GET", f"/v1/jobs/{job}/events") as stream:
        lines = (line for line in stream.iter_lines() if line.startswith("data:"))
        assert '"uploading"' in next(lines)
        for _ in range(10):
            idle(url)
        time.sleep(0.5)
        httpx.delete(f"{url}/v1/jobs/{job}", headers=phone.headers)
        assert '"cancelled"' in next(lines)


def test_a_proxys_connections_have_only_the_total_limit(serve, idle):
    connections = Connections(limit_of_address=2, first_request_s=600, proxies=["127.0.0.1"])
    url = serve(connections=connections)
    for _ in range(6):
        idle(url)
    until(lambda: len(connections) == 6)


@pytest.fixture
def local():
    """Connects over loopback and admits the connection; returns the admitted end, the client's, and the addresses."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("0.0.0.0", 0)))

        def connect(connections, client, server="127.0.0.1", port=0):
            opened = stack.enter_context(socket.socket())
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((client, port))
            opened.connect((server, listening.getsockname()[1]))
            accepted, peer = listening.accept()
            ends = accepted.getsockname(), peer
            admitted = connections.admit(accepted, peer)
            if admitted is not None:
                stack.callback(admitted.close)
            return admitted, opened, ends

        yield connect


def in_event_loop(test):
    async def run():
        test()

    asyncio.run(run())


def test_an_idle_connection_gives_its_place_to_a_new_client_if_the_largest_client_has_none(local):
    def steps():
        connections = Connections(limit=3)
        with contextlib.ExitStack() as requests:
            for _ in range(2):
                *_, ends = local(connections, "127.0.0.2")
                requests.enter_context(connections.request(*ends))
            idle, *_ = local(connections, "127.0.0.3")
            new, _, ends = local(connections, "127.0.0.4")
            assert (idle.is_replaced, new.is_replaced) == (True, False)
            assert len(connections) == 3
            requests.enter_context(connections.request(*ends))
            assert local(connections, "127.0.0.5")[0] is None  # all are active
        assert local(connections, "127.0.0.5")[0] is not None

    in_event_loop(steps)


def test_the_client_with_the_most_connections_loses_an_idle_one(local):
    def steps():
        connections = Connections(limit=6)
        oldest, *_ = local(connections, "127.0.0.2")
        with connections.request(*local(connections, "127.0.0.3")[2]):
            had_request, _, ends = local(connections, "127.0.0.3")
            with connections.request(*ends):
                pass
            without_request = [local(connections, "127.0.0.3")[0] for _ in range(2)]
            local(connections, "127.0.0.4")
            for _ in range(2):
                local(connections, "127.0.0.5")
        assert [one.is_replaced for one in without_request] == [True, True]
        assert not oldest.is_replaced
        assert not had_request.is_replaced

    in_event_loop(steps)


def test_connections_from_one_port_to_two_addresses_are_two(local):
    def steps():
        connections = Connections(first_request_s=600)
        first, opened, ends = local(connections, "127.0.0.1", "127.0.0.2")
        second, *_ = local(connections, "127.0.0.1", "127.0.0.3", opened.getsockname()[1])
        assert len(connections) == 2
        with connections.request(*ends):
            assert (first.active, second.active) == (1, 0)
        first.close()
        assert len(connections) == 1
        second.close()
        assert len(connections) == 0
        assert not connections._of_client

    in_event_loop(steps)


def test_a_port_that_is_used_again_before_its_replaced_connection_is_closed_is_another_connection(local):
    def steps():
        connections = Connections(limit_of_address=1)
        first, opened, (_, (_, port)) = local(connections, "127.0.0.1")
        other, *_ = local(connections, "127.0.0.1")
        assert first.is_replaced
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        opened.close()  # resets the connection, so that its port is free
        again, _, ends = local(connections, "127.0.0.1", port=port)
        assert (other.is_replaced, again.is_replaced, len(connections)) == (True, False, 1)
        first.close()
        assert len(connections) == 1
        with connections.request(*ends):
            assert again.active == 1
        for one in (other, again):
            one.close()
        assert not connections._of_client

    in_event_loop(steps)


def test_a_request_finds_its_connection(serve, client_of):
    """Otherwise all connections would count as idle."""
    connections = Connections()
    url = serve(connections=connections)
    assert client_of(url).get("/v1/health").status_code == 200
    assert [one.had_request for one in connections._open] == [True]


def test_an_address_of_ipv6_is_a_network_and_a_mapped_one_is_ipv4():
    assert _network("2001:db8::1") == _network("2001:db8::ffff") != _network("2001:db8:0:1::1")
    assert _network("::ffff:10.0.0.1") == "10.0.0.1"
    assert _network("fe80::1%eth0") == "fe80::/64"


def memory_mb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@pytest.mark.slow
@pytest.mark.parametrize("shakes_hands", [False, True])
def test_1030_idle_connections_of_one_address(serve_tls, pinned, idle, shakes_hands, record_property):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("needs 4096 open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    try:
        url = serve_tls(Connections(first_request_s=600), limits=Limits())
        assert is_healthy(url, pinned)
        before = memory_mb()
        for _ in range(1030):
            idle(url, "127.0.0.1", pinned if shakes_hands else None)
        started = time.monotonic()
        assert all(is_healthy(url, pinned, address) for address in ("127.0.0.1", "127.0.0.2"))
        record_property("two_requests_s", time.monotonic() - started)
        record_property("added_mb", memory_mb() - before)
        print(f"two requests in {time.monotonic() - started:.2f} s, {memory_mb() - before:.0f} MB more")
        assert memory_mb() - before < 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
