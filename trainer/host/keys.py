"""A host's own keys: an authority and a certificate for TLS, and the key that signs task vectors."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from device_app.remote.signatures import fingerprint
from editing.errors import BadInputError
from editing.files import private_folder, write_atomically

SIGNING = "signing.pem"
AUTHORITY = "authority.pem"
AUTHORITY_KEY = "authority-key.pem"
CERTIFICATE = "certificate.pem"
CERTIFICATE_KEY = "certificate-key.pem"
AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 825  # more than some TLS libraries accept would help nobody


@dataclass(frozen=True)
class Signer:
    """Signs what the host says.

    Attributes:
        key: the public half, base64.
        authority: the host's own certificate authority (PEM), if it has one.
    """

    private: Ed25519PrivateKey
    key: str
    authority: str | None

    @property
    def fingerprint(self) -> str:
        """For people to compare."""
        return fingerprint(self.key, self.authority)

    def sign(self, record: Mapping[str, Any]) -> tuple[str, str]:
        """A record as the document that is signed, and the signature."""
        document = json.dumps(record, sort_keys=True, ensure_ascii=False)
        return document, base64.b64encode(self.private.sign(document.encode())).decode()


def signer(folder: Path) -> Signer:
    """The signing key in a host's folder.

    Raises:
        BadInputError: there is none, or it cannot be read.
    """
    path = folder / SIGNING
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(private, Ed25519PrivateKey):
            raise ValueError("it is not of Ed25519")
    except FileNotFoundError:
        raise BadInputError(f"{path}: there is no such key; 'asr-edge host init' makes one") from None
    except (OSError, ValueError, TypeError) as error:
        raise BadInputError(f"{path}: cannot be used ({error})") from error
    public = private.public_key().public_bytes_raw()
    authority = folder / AUTHORITY
    return Signer(
        private, base64.b64encode(public).decode(), authority.read_text("ascii") if authority.is_file() else None
    )


def make_keys(folder: Path, names: Sequence[str]) -> Signer:
    """Makes an authority, a certificate and a signing key. What is there stays, but the certificate is renewed.

    Args:
        folder: the host's.
        names: by which devices reach it: DNS names and IP addresses.

    Raises:
        BadInputError: a name is none.
        StorageError: the folder cannot be written.
    """
    private_folder(folder)
    alternatives = [_alternative(name) for name in names]
    if not (folder / SIGNING).is_file():
        write_atomically(folder / SIGNING, _private(Ed25519PrivateKey.generate()))
    if not (folder / AUTHORITY).is_file():
        key = ec.generate_private_key(ec.SECP256R1())
        write_atomically(folder / AUTHORITY_KEY, _private(key))
        write_atomically(folder / AUTHORITY, _pem(_authority(key)))
    authority = x509.load_pem_x509_certificate((folder / AUTHORITY).read_bytes())
    authority_key = serialization.load_pem_private_key((folder / AUTHORITY_KEY).read_bytes(), None)
    if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
        raise BadInputError(f"{folder / AUTHORITY_KEY}: is not a key of an authority that was made here")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(alternatives[0].value, authority.subject, key, CERTIFICATE_DAYS)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    write_atomically(folder / CERTIFICATE_KEY, _private(key))
    write_atomically(folder / CERTIFICATE, _pem(certificate))
    return signer(folder)


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "asr-edge host authority")])
    usage = {"key_cert_sign": True, "crl_sign": True}
    others = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return (
        _builder("asr-edge host authority", name, key, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(**usage, **dict.fromkeys(others, False), encipher_only=False, decipher_only=False),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )


def _builder(subject: object, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(subject)[:64])]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=10))  # of clocks that differ
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _alternative(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        ascii_name = name.encode("idna").decode()
    except UnicodeError:
        ascii_name = ""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", ascii_name):
        raise BadInputError(f"{name!r}: neither a name nor an address of a machine")
    return x509.DNSName(ascii_name)


def _private(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
