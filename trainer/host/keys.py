"""A host's own keys: an authority and a certificate for TLS, and the key that signs task vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from device_app.remote.signatures import Signer, make_signing_key
from device_app.remote.tls import AUTHORITY, make_certificate

SIGNING = "signing.pem"


def signer(folder: Path) -> Signer:
    """The signing key in a host's folder.

    Raises:
        BadInputError: there is none, or it cannot be read.
    """
    return Signer.open(folder / SIGNING, folder / AUTHORITY)


def make_keys(folder: Path, names: Sequence[str]) -> Signer:
    """Makes an authority, a certificate and a signing key. What is there stays, but the certificate is renewed.

    Args:
        folder: the host's.
        names: by which devices reach it: DNS names and IP addresses.

    Raises:
        BadInputError: a name is none.
        StorageError: the folder cannot be written.
    """
    make_certificate(folder, names)
    make_signing_key(folder / SIGNING)
    return signer(folder)
