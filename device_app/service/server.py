"""Runs the service: its address, TLS, sockets and threads."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import uvicorn
from starlette.types import ASGIApp

from device_app.recognition.onnx_session import available_cores
from device_app.remote.tls import CERTIFICATE, CERTIFICATE_KEY, make_certificate
from device_app.remote.trusted_hosts import is_loopback
from device_app.service import ports
from device_app.service.app import PUBLIC, make_app
from device_app.service.clients import Clients, service_folder
from device_app.service.http.connections import (
    BACKLOG,
    Connections,
    TrackRequests,
    count_connections,
    listen,
    why_not_listening,
)
from device_app.service.http.logs import LogFormat, configure_logs
from device_app.service.http.sockets import only_tls_1_3, raise_open_files
from device_app.service.limits import Limits
from device_app.service.models import Models
from device_app.service.security import LOOPBACK_NAMES, Access
from device_app.service.state import ServiceState
from device_app.service.systemd import HTTP, WYOMING, inherited_sockets, notify
from device_app.service.turns import Turns
from device_app.service.wyoming.announcement import Announcement, own_address
from device_app.service.wyoming.server import WyomingAddress, WyomingServer
from editing.errors import BadInputError
from editing.files import cannot_read

log = logging.getLogger(__name__)

ANSWER_S = 2  # in which requests that are ended because the service stops still get their answers

ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104 - not bound here


@dataclass(frozen=True)
class Address:
    """Where to listen.

    Attributes:
        host: a host name, or an address of this machine; "0.0.0.0" and "::" are all of its addresses.
        port: the port.
        names: the names and addresses by which clients beyond loopback reach the service; empty for the default: the
            host, and the name of the machine.
    """

    host: str = "127.0.0.1"
    port: int = ports.HTTP
    names: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether no other machine can connect."""
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        """Where clients find the service: by a name of this machine if it listens on all of its addresses."""
        if self.is_local:
            return f"http://{_bracketed(self.host)}:{self.port}"
        names = _names(self)
        # The last of the machine's names is the full one, with a domain or .local, by which other machines find it.
        name = names[-1] if self.host in ALL_ADDRESSES and not self.names else names[0]
        return f"https://{_bracketed(name)}:{self.port}"


def make_state(models: Models, limits: Limits | None = None, threads: int | None = None) -> ServiceState:
    """The state of a service.

    Args:
        models: the models.
        limits: the limits of requests.
        threads: segments that are recognised at once; by default as many as there are cores.
    """
    limits = limits or Limits()
    return ServiceState(models, Turns(threads or available_cores(), limits.jobs, limits.jobs_of_client), limits)


def access_of(address: Address) -> Access:
    """Who may use the service at an address: on loopback everyone on this machine, beyond it clients with a token.

    Raises:
        BadInputError: no client has a token, and one is needed.
        StorageError: the file of tokens cannot be read, is damaged, or is of a later version of asr-edge.
    """
    if address.is_local:
        return Access(public=PUBLIC)
    clients = Clients(service_folder())
    if not clients.hashes():
        raise BadInputError(
            f"{address.host}: other machines can connect only with a token, and no client has one; "
            "'asr-edge service token add NAME' makes one"
        )
    return Access(frozenset(map(_bracketed, _names(address))) | frozenset(LOOPBACK_NAMES), clients, PUBLIC)


def certificate_of(address: Address) -> dict[str, str]:
    """uvicorn's settings of TLS, with a new certificate for the names of an address; none on loopback.

    Raises:
        BadInputError: a name is not valid.
        StorageError: the folder cannot be written.
    """
    if address.is_local:
        return {}
    folder = service_folder()
    make_certificate(folder, [*_names(address), "localhost", "127.0.0.1"])
    return {"ssl_certfile": str(folder / CERTIFICATE), "ssl_keyfile": str(folder / CERTIFICATE_KEY)}


def _names(address: Address) -> Sequence[str]:
    """The names and addresses by which clients reach an address beyond loopback, at least one."""
    if address.names:
        return address.names
    name = socket.gethostname().lower()
    given = [] if address.host in ALL_ADDRESSES else [address.host]
    return [*given, name, *([] if "." in name else [f"{name}.local"])]


def _bracketed(name: str) -> str:
    """A name or address as in a URL: IPv6 addresses in brackets."""
    return f"[{name}]" if ":" in name else name.lower()


def server_config(app: ASGIApp, connections: Connections, limits: Limits, **tls: str) -> uvicorn.Config:
    """The configuration of uvicorn for sockets from `listen`."""
    return uvicorn.Config(
        TrackRequests(app, connections),
        loop="asyncio",  # other loops do not accept by `ListeningSocket`
        http="h11",
        ws_max_size=limits.message_bytes,
        backlog=BACKLOG,
        proxy_headers=False,
        timeout_graceful_shutdown=math.ceil(limits.shutdown_s) + ANSWER_S,
        server_header=False,
        log_config=None,
        access_log=False,
        ssl_context_factory=only_tls_1_3 if tls else None,
        **tls,  # type: ignore[arg-type]
    )


class Server(uvicorn.Server):
    """uvicorn, and Wyoming in the same event loop. At its end, live connections first get the text of what was said."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServiceState,
        wyoming: WyomingServer | None = None,
        announcement: Announcement | None = None,
    ) -> None:
        super().__init__(config)
        self._state, self._wyoming, self._announcement = state, wyoming, announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        if self.should_exit:
            return
        if self._wyoming is not None:
            await self._wyoming.start()
        if self._announcement is not None:
            try:
                await self._announcement.start()
            except OSError as error:
                log.warning("the service is not announced in the network: %s", error.strerror)
        notify("READY=1")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets what has begun go on for `Limits.shutdown_s`; then requests are answered with 503."""
        notify("STOPPING=1")
        self._state.stopping.set()
        seconds = self._state.limits.shutdown_s
        ending = asyncio.get_running_loop().call_later(seconds, self._state.turns.stop)
        if self._announcement is not None:
            await self._announcement.stop()
        if self._wyoming is not None:
            await self._wyoming.stop(seconds)
        await self._state.wait_for_live(seconds)
        await super().shutdown(sockets)
        ending.cancel()


def serve(
    address: Address,
    models: Models,
    limits: Limits | None = None,
    *,
    wyoming: WyomingAddress | None = None,
    log_format: LogFormat = "text",
    verbose: bool = False,
    on_start: Callable[[Address, WyomingAddress], None] = lambda _address, _wyoming: None,
) -> None:
    """Serves until interrupted; requests that have begun are then finished.

    Args:
        address: where to listen, unless systemd has opened the sockets.
        models: the models to serve.
        limits: the limits of requests.
        wyoming: where to listen for Wyoming; None does not.
        log_format: the format of the log on standard error.
        verbose: also log every request, without content.
        on_start: called before the first request with the addresses where the service listens; port 0 of the second
            means that Wyoming is off.

    Raises:
        BadInputError: the service cannot listen there, no client has a token where one is needed, or the certificate
            cannot be used.
        AsrEdgeError: the default model cannot be loaded.
        StorageError: the certificate or tokens cannot be read or written.
    """
    inherited = inherited_sockets()
    if found := inherited.get(HTTP):
        address = _address_of(found, address.names)
    state = make_state(models, limits)
    connections, wyoming_connections = Connections(), Connections()
    app = make_app(state, access_of(address))
    config = server_config(app, connections, state.limits, **certificate_of(address))
    try:
        config.load()
    except ssl.SSLError as error:
        path = service_folder() / CERTIFICATE
        raise BadInputError(f"{path}: cannot be used ({error}); remove it, and the next start makes another") from error
    except OSError as error:
        raise cannot_read(service_folder(), error) from error
    models.get()  # an error of the default model is reported before anything is served
    sockets = _listening(inherited.get(HTTP), address.host, address.port, connections, "--host or --port")
    wyoming = wyoming or WyomingAddress(port=0)
    if opened_before := inherited.get(WYOMING):
        wyoming = replace(wyoming, port=int(opened_before[0].getsockname()[1]))
    wyoming_server = None
    if wyoming.port:
        opened = _listening(inherited.get(WYOMING), wyoming.host, wyoming.port, wyoming_connections, "--wyoming-port")
        _check_wyoming(opened, wyoming)
        wyoming_server = WyomingServer(state, opened, wyoming_connections, wyoming.peers)
    raise_open_files()
    configure_logs(log_format, ["device_app.service"], verbose=verbose)
    on_start(address, wyoming)
    Server(config, state, wyoming_server, _announcement(wyoming)).run(sockets)


def _address_of(sockets: Sequence[socket.socket], names: tuple[str, ...]) -> Address:
    """The address of sockets that systemd has opened: one beyond loopback if there is any."""
    found = [one.getsockname() for one in sockets]
    addresses = [Address(str(name[0]), int(name[1]), names) for name in found]
    return min(addresses, key=lambda one: one.is_local)


def _listening(
    inherited: Sequence[socket.socket] | None, host: str, port: int, connections: Connections, remedy: str
) -> list[socket.socket]:
    """The inherited sockets, or new ones that listen on host and port; their connections are counted.

    Args:
        inherited: sockets that systemd has opened, if any.
        host, port: where to listen without them.
        connections: counts the connections.
        remedy: the options that choose host and port, for the message.

    Raises:
        BadInputError: the service cannot listen on the address.
    """
    if inherited:
        return [count_connections(one, connections) for one in inherited]
    try:
        return listen(host, port, connections)
    except OSError as error:
        raise BadInputError(
            f"{host}:{port}: cannot listen there ({why_not_listening(error)}); choose another {remedy}"
        ) from error


def _check_wyoming(sockets: Sequence[socket.socket], wyoming: WyomingAddress) -> None:
    """Checks that Wyoming serves other machines only if the user names them.

    Raises:
        BadInputError: systemd listens beyond loopback, and no peer is named.
    """
    if not wyoming.peers and not all(is_loopback(one.getsockname()[0]) for one in sockets):
        raise BadInputError(
            "Wyoming has neither tokens nor encryption: beyond loopback it serves only the machines that "
            "--wyoming-peer names"
        )


def _announcement(wyoming: WyomingAddress) -> Announcement | None:
    """The announcement of Wyoming to its peers; None if Wyoming is off, or if no other machine may connect."""
    if not wyoming.port:
        return None
    try:
        addresses = list(dict.fromkeys(own_address(peer) for peer in wyoming.peers))
    except OSError as error:
        log.warning("the service is not announced in the network: %s", error.strerror)
        return None
    return Announcement(wyoming.port, addresses) if addresses else None
