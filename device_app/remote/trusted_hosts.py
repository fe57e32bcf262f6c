"""Hosts that this device trusts: signing key, certificate authority, and the device's token."""

from __future__ import annotations

import ipaddress
import json
import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from device_app.paths import data_folder
from editing.errors import BadInputError, StorageError, one_line
from editing.files import cannot_read, write_atomically
from editing.json_text import read_json


@dataclass(frozen=True)
class Host:
    """A host with pinned keys.

    Attributes:
        url: its URL, without a trailing slash.
        key: its public signing key, base64.
        authority: the certificate of its own authority (PEM); None if it uses a public one.
        token: authenticates this device.
        consent: whether the user has agreed to send recordings to it.
    """

    url: str
    key: str
    authority: str | None = None
    token: str = ""
    consent: bool = False

    def tls(self) -> ssl.SSLContext:
        """A context for TLS 1.3 that trusts only the host's own authority; those of the system if it has none."""
        context = ssl.create_default_context(cadata=self.authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context


def checked_url(url: str) -> str:
    """Checks the URL of a host, and removes a trailing slash.

    Raises:
        BadInputError: it is not the URL of a host, or would send recordings over the network unencrypted.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is not a number
    except ValueError as error:
        raise BadInputError(f"{url}: is not the URL of a host ({error})") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise BadInputError(f"{url}: is not the URL of a host; expected https://NAME:PORT")
    if parts.username or parts.password:
        raise BadInputError(f"{parts.hostname}: the URL contains a user name or a password; use --token")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise BadInputError(f"{url}: recordings are sent to another machine only over https")
    return url.rstrip("/")


def is_loopback(name: str) -> bool:
    """Whether a host name is "localhost" or a loopback address."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def hosts() -> dict[str, Host]:
    """All trusted hosts, by URL.

    Raises:
        StorageError: as `read_hosts`.
    """
    return read_hosts(_path())


def read_hosts(path: Path) -> dict[str, Host]:
    """Reads a file that has the format of the list in the data folder, as `hosts` does.

    Raises:
        StorageError: the file is damaged or cannot be read.
    """
    try:
        return {url: _host(url, record) for url, record in read_json(path).items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise cannot_read(path, error) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{path}: is damaged ({one_line(str(error))}); 'asr-edge restore FILE' brings it back from a backup; "
            "without one, remove it and trust your hosts again"
        ) from error


def _host(url: str, record: Mapping[str, Any]) -> Host:
    """Parses the record of a host.

    Raises:
        ValueError, TypeError: the record is invalid, or that of another URL.
    """
    host = Host(**record)
    are_texts = isinstance(host.key, str) and isinstance(host.authority, str | None) and isinstance(host.token, str)
    if host.url != url or not are_texts or not isinstance(host.consent, bool):
        raise ValueError(f"the record of {url} is invalid")
    return host


def find_host(url: str) -> Host:
    """The trusted host of this URL.

    Raises:
        BadInputError: it is not trusted.
    """
    url = checked_url(url)
    try:
        return hosts()[url]
    except KeyError:
        raise BadInputError(f"{url}: not trusted yet; 'asr-edge host trust {url}' pins its key") from None


def save_host(host: Host) -> None:
    """Adds or replaces a host, in a file that only its owner can read.

    Raises:
        StorageError: it cannot be written.
    """
    _write({**hosts(), host.url: host})


def remove_host(url: str) -> None:
    """Removes a host from the trusted ones.

    Raises:
        BadInputError: it is not trusted.
    """
    host = find_host(url)
    _write({other: one for other, one in hosts().items() if other != host.url})


def record_consent(host: Host) -> Host:
    """Records that the user agrees to send recordings to a host."""
    agreed = replace(host, consent=True)
    save_host(agreed)
    return agreed


def _path() -> Path:
    return data_folder() / "hosts.json"


def _write(known: Mapping[str, Host]) -> None:
    record = {url: asdict(host) for url, host in known.items()}
    write_atomically(_path(), (json.dumps(record, indent=1) + "\n").encode(), private=True)
