"""A host that listens: its folder, its engine, its TLS, until it is told to stop."""

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
from trainer.executors import Engine
from trainer.host.database import Database
from trainer.host.keys import SIGNING, make_keys, signer
from trainer.host.limits import Limits

CONNECTIONS = 1024  # more are told to come again
GRACE_S = 5


@dataclass(frozen=True)
class Address:
    """Where to listen, and with which certificate (PEM) if not the host's own; without TLS on loopback only."""

    host: str = "127.0.0.1"
    port: int = 8443
    certificate: Path | None = None
    key: Path | None = None
    tls: bool = True


def host_folder() -> Path:
    """Where a host keeps everything."""
    return data_folder() / "host"


def open_database() -> Database:
    """The host's database; made if there is none."""
    return Database(host_folder() / "host.sqlite")


def own_signer(address: Address) -> Signer:
    """The host's signing key; on loopback, where devices need trust nobody else, it is made now if there is none.

    Raises:
        BadInputError: there is none, or recordings would come over the network in the clear.
    """
    if not address.tls and not is_loopback(address.host):
        raise BadInputError(f"{address.host}: recordings come to this machine only by https; leave --no-tls away")
    folder = host_folder()
    if not (folder / SIGNING).is_file() and is_loopback(address.host):
        make_keys(folder, ["localhost", "127.0.0.1"])
    found = signer(folder)
    if address.certificate is not None or not address.tls:  # there is no authority of ours to pin
        return replace(found, authority=None)
    return found


def only_tls_1_3(_config: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """A context for uvicorn: devices speak TLS 1.3, so whoever speaks less is none."""
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def serve(address: Address, keys: Signer, engine: Engine, limits: Limits, *, keep: bool) -> None:
    """Serves until it is interrupted; jobs that are not done go on at the next start.

    Args:
        address: where.
        keys: as `own_signer` gives them for it.
        engine: where jobs are done.
        limits: how much devices may ask.
        keep: keep recordings when a job has ended.

    Raises:
        BadInputError: the address cannot be listened on, or the certificate cannot be used.
    """
    from trainer.host.api import make_api
    from trainer.host.auth import Hosting
    from trainer.host.jobs import Jobs

    folder = host_folder()
    jobs = Jobs(folder, open_database(), keys, engine, limits, keep=keep)
    certificate = address.certificate or folder / CERTIFICATE
    key = address.key or folder / CERTIFICATE_KEY
    config = uvicorn.Config(
        make_api(Hosting(jobs, keys, folder, is_loopback(address.host))),
        host=address.host,
        port=address.port,
        ssl_certfile=str(certificate) if address.tls else None,
        ssl_keyfile=str(key) if address.tls else None,
        ssl_context_factory=only_tls_1_3 if address.tls else None,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
        log_level="warning",
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise BadInputError(f"{certificate}: cannot be used as a certificate ({error})") from error
    uvicorn.Server(config).run()
