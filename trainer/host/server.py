"""Serves the host's API: its folder, TLS settings and server process."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn

from device_app.paths import data_folder
from device_app.remote.signatures import Signer
from device_app.remote.tls import CERTIFICATE, CERTIFICATE_KEY
from device_app.remote.trusted_hosts import is_loopback
from editing.errors import BadInputError
from trainer.executors import Executor
from trainer.host.database import Database
from trainer.host.keys import SIGNING, make_keys, signer
from trainer.host.limits import Limits

CONNECTIONS = 1024  # further clients get 503
SHUTDOWN_S = 5


@dataclass(frozen=True)
class Address:
    """The address to listen on, and a certificate (PEM) other than the host's own. Without TLS only on loopback."""

    host: str = "127.0.0.1"
    port: int = 8443
    certificate: Path | None = None
    key: Path | None = None
    tls: bool = True


def host_folder() -> Path:
    """The folder of the host's database, keys and jobs."""
    return data_folder() / "host"


def open_database() -> Database:
    """Opens the host's database; creates it if missing."""
    return Database(host_folder() / "host.sqlite")


def own_signer(address: Address) -> Signer:
    """Opens the host's keys. On loopback, creates them if missing, because no other machine connects.

    Raises:
        BadInputError: the keys are missing, or recordings would cross the network unencrypted.
    """
    if not address.tls and not is_loopback(address.host):
        raise BadInputError(f"{address.host}: recordings may cross a network only by https; omit --no-tls")
    folder = host_folder()
    if not (folder / SIGNING).is_file() and is_loopback(address.host):
        make_keys(folder, ["localhost", "127.0.0.1"])
    found = signer(folder)
    if address.certificate is not None or not address.tls:  # the host's own authority is not in use
        return replace(found, authority=None)
    return found


def only_tls_1_3(_config: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """An SSL context for uvicorn that refuses anything below TLS 1.3, which all devices use."""
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def serve(address: Address, keys: Signer, executor: Executor, limits: Limits, *, keep: bool) -> None:
    """Serves until interrupted; unfinished jobs resume at the next start.

    Args:
        address: where to listen.
        keys: from `own_signer` for this address.
        executor: runs the jobs.
        limits: limits on requests and jobs.
        keep: keep recordings after a job has ended.

    Raises:
        BadInputError: the address cannot be listened on, or the certificate cannot be used.
    """
    from trainer.host.api import make_api
    from trainer.host.auth import HostState
    from trainer.host.jobs import Jobs

    folder = host_folder()
    jobs = Jobs(folder, open_database(), keys, executor, limits, keep=keep)
    certificate = address.certificate or folder / CERTIFICATE
    key = address.key or folder / CERTIFICATE_KEY
    config = uvicorn.Config(
        make_api(HostState(jobs, keys, folder, is_loopback(address.host))),
        host=address.host,
        port=address.port,
        ssl_certfile=str(certificate) if address.tls else None,
        ssl_keyfile=str(key) if address.tls else None,
        ssl_context_factory=only_tls_1_3 if address.tls else None,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=SHUTDOWN_S,
        server_header=False,
        log_level="warning",
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise BadInputError(f"{certificate}: cannot be used as a certificate ({error})") from error
    uvicorn.Server(config).run()
