"""Runs the service: its address, TLS, sockets and threads."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from device_app.recognition.onnx_session import available_cores
from device_app.remote.tls import CERTIFICATE, CERTIFICATE_KEY, make_certificate
from device_app.remote.trusted_hosts import is_loopback
from device_app.service.app import PUBLIC, make_app
from device_app.service.clients import Clients, service_folder
from device_app.service.http.connections import BACKLOG, Connections, TrackRequests, listen
from device_app.service.http.logs import LogFormat, configure_logs
from device_app.service.http.sockets import only_tls_1_3, raise_open_files
from device_app.service.limits import Limits
from device_app.service.models import Models
from device_app.service.security import LOOPBACK_NAMES, Access
from device_app.service.state import ServiceState
from device_app.service.turns import Turns
from editing.errors import BadInputError

SHUTDOWN_S = 30  # in which requests that have begun may end


@dataclass(frozen=True)
class Address:
    """Where to listen, and the names and addresses by which clients reach it beyond loopback."""

    host: str = "127.0.0.1"
    port: int = 8765
    names: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether no other machine can connect."""
        return is_loopback(self.host)


def make_state(models: Models, limits: Limits | None = None, threads: int | None = None) -> ServiceState:
    """The state of a service.

    Args:
        models: the models.
        limits: of requests.
        threads: segments that are recognised at once; by default as many as there are cores.
    """
    limits = limits or Limits()
    return ServiceState(models, Turns(threads or available_cores(), limits.jobs, limits.jobs_of_client), limits)


def access_of(address: Address) -> Access:
    """Who may use the service at an address: on loopback everyone on this machine, beyond it clients with a token.

    Raises:
        BadInputError: no client has a token, and one is needed.
        StorageError: the file of tokens is damaged.
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
    if address.names:
        return address.names
    name = socket.gethostname().lower()
    given = [] if address.host in ("0.0.0.0", "::") else [address.host]  # noqa: S104 - not bound here
    return [*given, name, *([] if "." in name else [f"{name}.local"])]


def _bracketed(name: str) -> str:
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
        timeout_graceful_shutdown=SHUTDOWN_S,
        server_header=False,
        log_config=None,
        access_log=False,
        ssl_context_factory=only_tls_1_3 if tls else None,
        **tls,  # type: ignore[arg-type]
    )


def serve(
    address: Address,
    models: Models,
    limits: Limits | None = None,
    *,
    log_format: LogFormat = "text",
    verbose: bool = False,
) -> None:
    """Serves until interrupted; requests that have begun are then finished.

    Args:
        address: where to listen.
        models: the models to serve.
        limits: of requests.
        log_format: of the log on standard error.
        verbose: also log every request, without content.

    Raises:
        BadInputError: it cannot listen there, or no client has a token where one is needed.
        StorageError: the certificate or tokens cannot be read or written.
    """
    state = make_state(models, limits)
    connections = Connections()
    app = make_app(state, access_of(address))
    config = server_config(app, connections, state.limits, **certificate_of(address))
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise BadInputError(f"{Path(service_folder())}: the certificate cannot be used ({error}); remove it") from error
    try:
        sockets = listen(address.host, address.port, connections)
    except OSError as error:
        raise BadInputError(
            f"{address.host}:{address.port}: cannot be listened on ({error.strerror}); choose another --host or --port"
        ) from error
    raise_open_files()
    configure_logs(log_format, ["device_app.service"], verbose=verbose)
    models.get()  # an error of the default model is reported before anything is served
    uvicorn.Server(config).run(sockets)
