"""The server process of a host, a machine that fine-tunes models for others: its folder, keys, address and TLS."""

from __future__ import annotations

import ssl
from asyncio.sslproto import SSLProtocol
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from device_app.data.database import CorruptError
from device_app.data.store.damage import check_journal
from device_app.paths import data_folder
from device_app.remote.signatures import Signer
from device_app.remote.tls import CERTIFICATE, CERTIFICATE_KEY
from device_app.remote.trusted_hosts import is_loopback
from device_app.service.http.connections import BACKLOG, Connections, TrackRequests, listen, why_not_listening
from device_app.service.http.logs import LogFormat, configure_logs
from device_app.service.http.sockets import only_tls_1_3, raise_open_files
from editing.errors import BadInputError, StorageError
from trainer.executors import Executor
from trainer.host.database import Database
from trainer.host.keys import SIGNING, make_keys, signer
from trainer.host.limits import Limits
from trainer.host.serving.disk import REMEDY, cannot_use_database

SHUTDOWN_S = 5  # time for requests in progress to end, before their connections are closed
TLS_BUFFER = 16 << 10  # bytes, a record of TLS; asyncio's 256 KiB for each connection are 264 MB for 1,030 idle ones


@dataclass(frozen=True)
class Address:
    """Where the host listens, and how it encrypts.

    Attributes:
        host: IP address or name of this machine.
        port: TCP port.
        certificate: file of a TLS certificate (PEM); None for the one that `make_keys` wrote.
        key: file of the private key of `certificate` (PEM).
        tls: whether to use TLS; False is allowed only for a loopback address.
        proxies: addresses of reverse proxies. The header X-Forwarded-For is read only from them.
    """

    host: str = "127.0.0.1"
    port: int = 8443
    certificate: Path | None = None
    key: Path | None = None
    tls: bool = True
    proxies: tuple[str, ...] = ()

    @property
    def allows_anonymous(self) -> bool:
        """Whether requests need no token: only this machine can send them. Behind a proxy, any machine can."""
        return is_loopback(self.host) and not self.proxies


def host_folder() -> Path:
    """The folder of the host's database, keys and jobs."""
    return data_folder() / "host"


def open_database() -> Database:
    """Opens the host's database; creates it on a new host.

    Raises:
        StorageError: it is damaged, lost, of a newer version, or cannot be written.
    """
    path = host_folder() / "host.sqlite"
    _check_not_lost(path)
    try:
        check_journal(path)  # first, because SQLite would remove a damaged one, and with it the latest changes
    except (CorruptError, OSError) as error:
        raise cannot_use_database(path, error) from error
    return Database(path)


def _check_not_lost(path: Path) -> None:
    """Checks that a missing database is that of a new host. A new one would know no job, and all files would go.

    Raises:
        StorageError: the database is missing or empty, but files of jobs or vectors are there.
    """
    if path.is_file() and path.stat().st_size:
        return
    folder = path.parent
    left = [*folder.glob("jobs/*"), *folder.glob("fleet/*.safetensors")]
    if left:
        raise StorageError(
            f"{path}: is {'empty' if path.exists() else 'missing'}, but files of devices are there "
            f"({left[0].relative_to(folder)}), which a new database would not know; nothing was changed. "
            f"{REMEDY}"
        )


def open_signer(address: Address) -> Signer:
    """Opens the key with which the host signs its results. On a loopback address, creates missing keys.

    Keys for a loopback address need no names of this machine, because no other machine connects.

    Raises:
        BadInputError: the keys are missing, or recordings would cross the network unencrypted.
    """
    if not address.tls and not is_loopback(address.host):
        raise BadInputError(f"{address.host}: recordings may cross a network only by https; omit --no-tls")
    folder = host_folder()
    if not (folder / SIGNING).is_file() and is_loopback(address.host):
        make_keys(folder, ["localhost", "127.0.0.1"])
    found = signer(folder)
    if address.certificate is not None or not address.tls:  # the host's own authority has not issued the certificate
        return replace(found, authority=None)
    return found


def server_config(app: FastAPI, address: Address, connections: Connections, **tls: Any) -> uvicorn.Config:
    """The configuration of uvicorn. The sockets are from `device_app.service.http.connections.listen`.

    Args:
        app: the API.
        address: where the host listens; only `proxies` is used.
        connections: the connections that `listen` accepts.
        tls: settings of uvicorn that begin with "ssl_".
    """
    SSLProtocol.max_size = TLS_BUFFER
    served: Any = ProxyHeadersMiddleware(app, list(address.proxies)) if address.proxies else app  # type: ignore[arg-type]
    return uvicorn.Config(
        TrackRequests(served, connections),
        loop="asyncio",  # other event loops do not call the `accept` of `ListeningSocket`
        http="h11",
        backlog=BACKLOG,
        proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
        server_header=False,
        log_config=None,
        access_log=False,
        **tls,
    )


@dataclass(frozen=True)
class Logging:
    """How the host logs; see `configure_logs`."""

    style: LogFormat = "text"
    verbose: bool = False


def serve(
    address: Address, keys: Signer, executor: Executor, limits: Limits, *, keep: bool, logging: Logging | None = None
) -> None:
    """Serves until interrupted; unfinished jobs resume at the next start.

    Args:
        address: where to listen.
        keys: the result of `open_signer` for this address.
        executor: runs the jobs.
        limits: limits on requests and jobs.
        keep: whether to keep the recordings of a job after it has ended.
        logging: format and verbosity of the log.

    Raises:
        BadInputError: the server cannot listen on the address, or the certificate cannot be used.
        StorageError: the database is damaged, of a newer version, or cannot be written.
    """
    from trainer.host.api import make_api
    from trainer.host.auth import HostState
    from trainer.host.jobs import Jobs

    folder = host_folder()
    jobs = Jobs(folder, open_database(), keys, executor, limits, keep=keep)
    certificate = address.certificate or folder / CERTIFICATE
    key = address.key or folder / CERTIFICATE_KEY
    connections = Connections(proxies=address.proxies)
    config = server_config(
        make_api(HostState(jobs, keys, folder, address.allows_anonymous)),
        address,
        connections,
        ssl_certfile=str(certificate) if address.tls else None,
        ssl_keyfile=str(key) if address.tls else None,
        ssl_context_factory=only_tls_1_3 if address.tls else None,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise BadInputError(f"{certificate}: cannot be used as a certificate ({error})") from error
    try:
        sockets = listen(address.host, address.port, connections)
    except OSError as error:
        raise BadInputError(
            f"{address.host}:{address.port}: cannot listen there ({why_not_listening(error)}); "
            "choose another --host or --port"
        ) from error
    raise_open_files()
    logging = logging or Logging()
    configure_logs(logging.style, ["trainer.host"], verbose=logging.verbose)
    uvicorn.Server(config).run(sockets)
