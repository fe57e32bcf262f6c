"""Hosts that this device trusts: their signing key, their certificate authority, and our token there."""

from __future__ import annotations

import ipaddress
import json
import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from device_app.paths import data_folder
from editing.errors import BadInputError, StorageError, one_line
from editing.files import write_atomically
from editing.json_text import read_json


@dataclass(frozen=True)
class Host:
    """A host, pinned.

    Attributes:
        url: without a slash at its end.
        key: the public half of its signing key, base64.
        authority: the certificate (PEM) that signed its own; None where it has a public one.
        token: by which it knows this device.
        consent: whether the user has agreed that recordings go there.
    """

    url: str
    key: str
    authority: str | None = None
    token: str = ""
    consent: bool = False

    def tls(self) -> ssl.SSLContext:
        """TLS 1.3, and no other authority than the host's own, if it has one."""
        context = ssl.create_default_context(cadata=self.authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context


def checked_url(url: str) -> str:
    """The URL of a host, without a slash at its end.

    Raises:
        BadInputError: it is none, or would send recordings over the network in the clear.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise BadInputError(f"{url}: is not the URL of a host ({error})") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise BadInputError(f"{url}: is not the URL of a host; expected https://NAME:PORT")
    if parts.username or parts.password:
        raise BadInputError(f"{parts.hostname}: the URL has a name or a password in it; use --token")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise BadInputError(f"{url}: recordings go to another machine only by https")
    return url.rstrip("/")


def is_loopback(name: str) -> bool:
    """Whether an address is this machine's own."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def hosts() -> dict[str, Host]:
    """All hosts that are trusted, by URL.

    Raises:
        StorageError: the list is damaged.
    """
    path = _path()
    try:
        return {url: Host(**host) for url, host in read_json(path).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{path}: is damaged ({one_line(str(error))}); remove it and trust your hosts again"
        ) from error


def find_host(url: str) -> Host:
    """
    Raises:
        BadInputError: it is not trusted.
    """
    url = checked_url(url)
    try:
        return hosts()[url]
    except KeyError:
        raise BadInputError(f"{url}: not trusted yet; 'asr-edge host trust {url}' pins its key") from None


def keep_host(host: Host) -> None:
    """Adds a host, or replaces it. The file can be read by its owner alone.

    Raises:
        StorageError: it cannot be written.
    """
    _write({**hosts(), host.url: host})


def forget_host(url: str) -> None:
    """
    Raises:
        BadInputError: it is not trusted.
    """
    host = find_host(url)
    _write({other: one for other, one in hosts().items() if other != host.url})


def agree(host: Host) -> Host:
    """Notes that the user lets recordings go to a host."""
    agreed = replace(host, consent=True)
    keep_host(agreed)
    return agreed


def _path() -> Path:
    return data_folder() / "hosts.json"


def _write(known: Mapping[str, Host]) -> None:
    record = {url: asdict(host) for url, host in known.items()}
    write_atomically(_path(), (json.dumps(record, indent=1) + "\n").encode(), private=True)
