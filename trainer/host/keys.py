"""A host's keys: a certificate authority and a certificate for TLS, and the key that signs task vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from device_app.remote.signatures import Signer, make_signing_key
from device_app.remote.tls import AUTHORITY, make_certificate

SIGNING = "signing.pem"


def signer(folder: Path) -> Signer:
    """The signing key in a host's folder.

    Raises:
        BadInputError: the key is missing or cannot be read.
    """
    return Signer.open(folder / SIGNING, folder / AUTHORITY)


def make_keys(folder: Path, names: Sequence[str]) -> Signer:
    """Creates a certificate authority, a certificate and a signing key. Keeps existing keys; renews the certificate.

    Args:
        folder: the host's folder.
        names: the DNS names and IP addresses by which devices reach the host.

    Raises:
        BadInputError: a name is not valid.
        StorageError: the folder cannot be written.
    """
    make_certificate(folder, names)
    make_signing_key(folder / SIGNING)
    return signer(folder)
