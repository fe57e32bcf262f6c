"""TLS certificates of a server, signed by its own certificate authority.

authority.pem, authority-key.pem       created once; a device that pins the authority trusts all its certificates
certificate.pem, certificate-key.pem   renewed each time, for the names by which devices reach the server
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from editing.errors import BadInputError
from editing.files import cannot_read, write_atomically
from editing.privacy import private_folder

AUTHORITY = "authority.pem"
AUTHORITY_KEY = "authority-key.pem"
CERTIFICATE = "certificate.pem"
CERTIFICATE_KEY = "certificate-key.pem"
AUTHORITY_DAYS = 3650
MAX_COMMON_NAME = 64  # characters, by RFC 5280
CERTIFICATE_DAYS = 825  # some TLS libraries refuse certificates that are valid for longer


def make_certificate(folder: Path, names: Sequence[str]) -> None:
    """Creates or replaces the certificate; creates the authority that signs it if there is none.

    Args:
        folder: folder of the four files; it becomes private.
        names: DNS names and IP addresses by which devices reach the server; at least one.

    Raises:
        BadInputError: a name is invalid, or the authority is damaged or its key of another type.
        StorageError: the folder cannot be written, or the authority cannot be read.
    """
    private_folder(folder)
    alternatives = [_alternative(name) for name in names]
    if not (folder / AUTHORITY).is_file():
        key = ec.generate_private_key(ec.SECP256R1())
        write_atomically(folder / AUTHORITY_KEY, _private_pem(key))
        write_atomically(folder / AUTHORITY, _pem(_authority_certificate(key)))
    authority, authority_key = _read_authority(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(alternatives[0].value, authority.subject, key, CERTIFICATE_DAYS)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    write_atomically(folder / CERTIFICATE_KEY, _private_pem(key))
    write_atomically(folder / CERTIFICATE, _pem(certificate))


def _read_authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    path = folder / AUTHORITY
    try:
        authority = x509.load_pem_x509_certificate(path.read_bytes())
        path = folder / AUTHORITY_KEY
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise cannot_read(path, error) from error
    except (ValueError, TypeError) as error:  # TypeError: the key needs a password
        raise BadInputError(
            f"{path}: is damaged; nothing was changed. Bring it back from a backup, or remove {AUTHORITY} and "
            f"{AUTHORITY_KEY}: new ones are made, and the other machines need the new {AUTHORITY}"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadInputError(f"{folder / AUTHORITY_KEY}: is not the key of an authority that asr-edge created")
    return authority, key


def _authority_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
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
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(subject)[:MAX_COMMON_NAME])]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=10))  # for clocks that differ
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
        raise BadInputError(f"{name!r}: neither a DNS name nor an IP address")
    return x509.DNSName(ascii_name)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
