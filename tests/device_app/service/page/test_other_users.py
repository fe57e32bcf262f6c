"""Another user of this machine reaches the loopback interface, but neither sees recordings nor changes anything."""

import json
import multiprocessing
import os
import socket
import sys
from urllib.parse import urlsplit

import pytest

from device_app.data.terms import stored_terms
from device_app.service.page import users
from tests.device_app.service.page.conftest import HEADER

NOBODY = 65534

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="another user's process needs Linux and root"
)


def sent(url, method, path, body=b"", *, is_waiting=True):
    """Sends a request from this process; returns the status, or 0 if it does not wait for one."""
    address = urlsplit(url)
    head = [f"{method} {path} HTTP/1.1", f"Host: {address.netloc}", f"Content-Length: {len(body)}", "Connection: close"]
    head += [f"{name}: {value}" for name, value in HEADER.items()] + ["Content-Type: application/json", "", ""]
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall("\r\n".join(head).encode() + body)
        return int(connection.recv(12).split()[1]) if is_waiting else 0


def as_nobody(*arguments, **options):
    """What `sent` returns in a process of another user."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def child():
        os.setuid(NOBODY)
        results.put(sent(*arguments, **options))

    process = context.Process(target=child)
    process.start()
    status = results.get(timeout=30)
    process.join(30)
    return status


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/utterances"), ("GET", "/words"), ("DELETE", "/utterances/1"), ("POST", "/learning")]
)
def test_the_page_serves_its_own_user_alone(serve, method, path):
    url = serve()
    assert as_nobody(url, method, f"/page/api{path}", b"{}") == 403
    assert sent(url, method, f"/page/api{path}", b"{}") != 403


def test_a_user_who_closes_the_connection_at_once_changes_nothing(serve):
    url = serve()
    body = json.dumps({"texts": ["stolen"]}).encode()
    for _ in range(5):
        as_nobody(url, "POST", "/page/api/words/terms", body, is_waiting=False)
    assert sent(url, "POST", "/page/api/words/terms", json.dumps({"texts": ["Zwetschge"]}).encode()) == 200
    assert [term.text for term in stored_terms().terms] == ["Zwetschge"]


@pytest.mark.skipif(sys.byteorder != "little", reason="the examples are of little-endian machines")
@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0100007F:1F90", ("127.0.0.1", 8080)),
        ("0000000000000000FFFF00000100007F:1F90", ("127.0.0.1", 8080)),
        ("00000000000000000000000001000000:0050", ("::1", 80)),
    ],
)
def test_addresses_of_the_kernel_are_read(text, address):
    assert users._address(text) == address


def test_without_the_kernels_table_nothing_is_known(monkeypatch, tmp_path):
    monkeypatch.setattr(users, "TABLES", {"tcp": tmp_path / "missing"})
    assert not users.is_other_user(("127.0.0.1", 1), ("127.0.0.1", 2))
