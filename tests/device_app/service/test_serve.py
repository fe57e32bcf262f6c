"""The command: sockets of systemd, a graceful end, refusals at the start, and what an installation lacks."""

import os
import signal
import socket
import subprocess
import sys

import httpx2 as httpx
import pytest
from typer.testing import CliRunner

from device_app.cli import application
from device_app.service import server
from device_app.service.clients import Clients, service_folder
from device_app.service.http.connections import Connections, listen, why_not_listening
from device_app.service.server import Address, access_of, certificate_of
from device_app.service.systemd import units
from device_app.service.wyoming.server import WyomingAddress
from editing.errors import BadInputError
from tests.device_app.service.conftest import SPEECH

# Gives two sockets to the program as systemd does, and waits for the message that it is ready.
ACTIVATE = """
import os, sys
first, second, *command = sys.argv[1:]
os.dup2(int(first), 3); os.dup2(int(second), 4)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="http:wyoming")
os.execv(sys.executable, [sys.executable, *command])
"""


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (Address(), "http://127.0.0.1:8765"),
        (Address("::1", 9000), "http://[::1]:9000"),
        (Address("0.0.0.0"), "https://box.local:8765"),
        (Address("::", names=("box.lan", "box")), "https://box.lan:8765"),
        (Address("192.0.2.1"), "https://192.0.2.1:8765"),
    ],
)
def test_the_printed_address_is_one_that_other_devices_can_open(monkeypatch, address, url):
    monkeypatch.setattr(server.socket, "gethostname", lambda: "box")
    assert address.url == url


def test_systemd_passes_the_sockets_and_sigterm_ends_it_gracefully(transcriber, home, tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as first,
        socket.create_server(("127.0.0.1", 0)) as second,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
    ):
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(60)
        high = [os.dup(one.fileno()) for one in (first, second)]
        url = f"http://127.0.0.1:{first.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-c", ACTIVATE, *map(str, high), "-m", "device_app", "serve"],
            pass_fds=[*high],
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert notified.recv(100) == b"READY=1"
            with SPEECH.open("rb") as file:
                answer = httpx.post(f"{url}/v1/audio/transcriptions", files={"file": file}, timeout=60)
            assert "not in service" in answer.json()["text"]
            socket.create_connection(second.getsockname()[:2], timeout=10).close()
            process.send_signal(signal.SIGTERM)
            assert notified.recv(100) == b"STOPPING=1"
            assert process.wait(30) in (0, -signal.SIGTERM)
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
            for one in high:
                os.close(one)


def test_beyond_loopback_it_needs_a_token_and_tls(own_home):
    address = Address("192.0.2.1", names=("box.local",))
    with pytest.raises(BadInputError, match="only with a token"):
        access_of(address)
    Clients(service_folder()).add("kitchen")
    access = access_of(address)
    assert access.clients is not None
    assert {"box.local", "localhost"} <= access.names
    assert set(certificate_of(address)) == {"ssl_certfile", "ssl_keyfile"}
    assert certificate_of(Address()) == {}
    assert access_of(Address()).clients is None
    for path in (own_home / "service").iterdir():
        assert not path.stat().st_mode & 0o077, path


def test_with_tls_a_client_with_the_authority_and_a_token_is_served(start, own_home):
    clients = Clients(service_folder())
    token = clients.add("kitchen")
    address = Address("192.0.2.1", names=("127.0.0.1",))
    url, _ = start(access=access_of(address), **certificate_of(address))
    authority = str(own_home / "service" / "authority.pem")
    command = ["curl", "-sS", "--cacert", authority, f"{url}/v1/models"]
    served = subprocess.run([*command, "-H", f"Authorization: Bearer {token}"], capture_output=True, check=False)
    assert b'"asr-edge"' in served.stdout, served.stderr
    assert b"needs a token" in subprocess.run(command, capture_output=True, check=False).stdout


@pytest.mark.parametrize(
    "peer", ["evil.example", "8.8.8.8", "0.0.0.0/0", "0.0.0.0", "127.0.0.1", "255.255.255.255", "fd00::2", ""]
)
def test_wyoming_serves_only_named_private_peers(peer):
    assert WyomingAddress().host == "127.0.0.1"
    assert WyomingAddress(peers=("192.168.1.2",)).host != "127.0.0.1"
    with pytest.raises(BadInputError, match="wyoming-peer"):
        WyomingAddress(peers=(peer,))


def test_tokens_are_shown_once_and_revoked(own_home):
    run = CliRunner().invoke
    token = run(application(), ["service", "token", "add", "kitchen"]).stdout.strip()
    assert Clients(service_folder()).find(token) == "kitchen"
    assert run(application(), ["service", "token", "list"]).stdout == "kitchen\n"
    assert isinstance(run(application(), ["service", "token", "add", "kitchen"]).exception, BadInputError)
    assert run(application(), ["service", "token", "revoke", "kitchen"]).exit_code == 0
    assert Clients(service_folder()).find(token) is None


def test_the_units_start_this_program(own_home, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    done = CliRunner().invoke(application(), ["service", "install", "--port", "9000"])
    assert "enable --now asr-edge.socket" in done.stdout
    folder = tmp_path / "systemd" / "user"
    assert "ListenStream=127.0.0.1:9000" in (folder / "asr-edge.socket").read_text()
    assert f'ExecStart="{sys.executable}" "-m" "device_app" "serve"' in (folder / "asr-edge.service").read_text()
    assert f'Environment="ASR_EDGE_HOME={own_home}"' in (folder / "asr-edge.service").read_text()


def test_units_quote_what_systemd_would_change():
    unit = units(["/a b/100%", "$x"], 1, 2, {"NAME": '/a b/100%/$x/"\\\n'})["asr-edge.service"]
    assert 'ExecStart="/a b/100%%" "$$x"\n' in unit
    assert r'''Environment="NAME=/a b/100%%/$x/\"\\\n"''' in unit


@pytest.fixture
def unit(own_home, tmp_path, monkeypatch):
    """The unit of the service, where `service install` writes it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "systemd" / "user" / "asr-edge.service"


def install(*arguments):
    return CliRunner().invoke(application(), [*arguments[:-1], "service", "install", *arguments[-1]])


def test_the_service_of_a_profile_has_its_data(unit, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_PROFILE", "")  # is set by --profile, and restored after the test
    assert CliRunner().invoke(application(), ["profile", "add", "anna"]).exit_code == 0
    assert install("--profile", "anna", []).exit_code == 0
    assert 'Environment="ASR_EDGE_PROFILE=anna"\n' in unit.read_text()


def test_without_a_profile_the_service_has_none(unit):
    assert install([]).exit_code == 0
    assert "ASR_EDGE_PROFILE" not in unit.read_text()


def test_units_of_another_content_are_replaced_only_if_asked_for(unit):
    assert install([]).exit_code == 0
    assert install([]).exit_code == 0  # nothing changes
    unit.write_text("edited")
    refused = install(["--port", "9000"]).exception
    assert isinstance(refused, BadInputError)
    assert "nothing was changed. Replace the units with --overwrite" in str(refused)
    assert unit.read_text() == "edited"
    assert "9000" not in unit.with_name("asr-edge.socket").read_text()
    assert install(["--port", "9000", "--overwrite"]).exit_code == 0
    assert "ExecStart" in unit.read_text()
    assert "9000" in unit.with_name("asr-edge.socket").read_text()


def test_only_a_wyoming_server_is_announced(monkeypatch):
    monkeypatch.setattr("device_app.service.server.own_address", lambda _peer: "192.168.1.2")
    assert server._announcement(WyomingAddress(port=0, peers=("192.168.1.3",))) is None
    assert server._announcement(WyomingAddress()) is None
    assert server._announcement(WyomingAddress(peers=("192.168.1.3",))) is not None


def test_a_port_in_use_is_one_line(transcriber, home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "device_app", "serve", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    reason = "another program listens there already, perhaps an asr-edge that runs"
    assert done.stderr.startswith(f"asr-edge: 127.0.0.1:{port}: cannot listen there ({reason}); choose another")
    assert len(done.stderr.splitlines()) == 1


def test_an_address_of_no_interface_is_called_so():
    with pytest.raises(OSError) as failed:  # noqa: PT011 - its errno decides
        listen("192.0.2.1", 1, Connections())  # an address for documentation, RFC 5737
    assert why_not_listening(failed.value) == "it is not an address of this machine"


def test_without_the_extra_it_says_what_to_install(home):
    code = (
        "import importlib.util, sys\nfound = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'wyoming' else found(name, *rest)\n"
        "sys.argv = ['asr-edge', 'serve']\nfrom device_app.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "pip install '.[serve]'" in done.stderr
