"""`asr-edge serve`: its options reach the service. tests/device_app/service/test_serve.py starts a real one."""

import pytest

from device_app.service import server
from device_app.service.server import Address
from tests.command_line import call


@pytest.fixture
def started(monkeypatch):
    """What the service was started with; it ends at once."""
    calls = []

    def serve(address, models, *, wyoming, log_format, verbose, on_start):
        calls.append((address, wyoming.port, wyoming.peers, log_format, verbose))
        on_start(address, wyoming)

    monkeypatch.setattr(server, "serve", serve)
    return calls


def test_the_service_is_for_this_machine_unless_told_otherwise(started, own_home):
    done = call("serve")
    assert started == [(Address("127.0.0.1", 8765, ()), 10300, (), "text", False)]
    assert "Page: http://127.0.0.1:8765/" in done.stderr
    assert "http://127.0.0.1:8765/v1" in done.stderr
    assert "Wyoming: port 10300" in done.stderr
    assert "unencrypted" not in done.stderr


def test_options_reach_the_service(started, own_home):
    options = ["--host", "0.0.0.0", "--port", 9000, "--name", "box.lan", "--name", "10.0.0.7"]
    done = call("serve", *options, "--wyoming-peer", "10.0.0.9", "--log-format", "json", "--verbose")
    assert started == [(Address("0.0.0.0", 9000, ("box.lan", "10.0.0.7")), 10300, ("10.0.0.9",), "json", True)]
    assert "Page: https://box.lan:9000/" in done.stderr
    assert "Audio and text of 10.0.0.9 cross the network unencrypted (Wyoming)." in done.stderr


def test_wyoming_can_be_left_out(started, own_home):
    done = call("serve", "--wyoming-port", 0)
    assert started[0][1] == 0
    assert "no Wyoming" in done.stderr


def test_without_wyoming_nothing_is_unencrypted(started, own_home):
    assert "unencrypted" not in call("serve", "--wyoming-port", 0, "--wyoming-peer", "10.0.0.9").stderr


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wyoming" else object())
    done = call("serve", code=1)
    line = "this command needs wyoming, which is not installed: pip install '.[serve]' in your clone of asr-edge"
    assert done.stderr == f"asr-edge: {line}\n"


def test_tokens_are_shown_once_listed_and_revoked(own_home):
    token = call("service", "token", "add", "phone").stdout.strip()
    assert len(token) > 20
    assert call("service", "token", "list").stdout == "phone\n"
    assert token not in call("service", "token", "list", "--json").stdout
    call("service", "token", "revoke", "phone")
    assert call("service", "token", "list").stdout == ""
