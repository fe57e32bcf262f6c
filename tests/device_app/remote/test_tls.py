"""The authority and certificate of a server: only the certificate is renewed, so pinned authorities stay valid."""

import stat

import pytest
from cryptography import x509

from device_app.remote.tls import AUTHORITY, AUTHORITY_KEY, CERTIFICATE, CERTIFICATE_KEY, make_certificate
from editing.errors import BadInputError, StorageError

FILES = (AUTHORITY, AUTHORITY_KEY, CERTIFICATE, CERTIFICATE_KEY)


def certificate(folder):
    return x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())


def test_a_certificate_is_signed_by_the_authority_for_the_given_names(tmp_path):
    make_certificate(tmp_path / "keys", ["box.example", "192.0.2.7"])
    found = certificate(tmp_path / "keys")
    found.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / "keys" / AUTHORITY).read_bytes()))
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["box.example"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]


def test_only_the_certificate_is_renewed(tmp_path):
    make_certificate(tmp_path, ["one"])
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    make_certificate(tmp_path, ["other"])
    changed = {name for name in FILES if (tmp_path / name).read_bytes() != before[name]}
    assert changed == {CERTIFICATE, CERTIFICATE_KEY}


def test_only_their_owner_can_read_the_files(tmp_path):
    make_certificate(tmp_path / "keys", ["box"])
    assert {stat.S_IMODE((tmp_path / "keys" / name).stat().st_mode) for name in FILES} == {0o600}


@pytest.mark.parametrize("name", ["", "two words", "-box", "https://box", "ü" * 80])
def test_an_invalid_name_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(BadInputError, match="neither a DNS name nor an IP address"):
        make_certificate(tmp_path, ["box", name])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [AUTHORITY, AUTHORITY_KEY])
def test_an_authority_that_is_damaged_or_missing_is_one_line_and_stays(tmp_path, name):
    """Another authority would lock out every machine that has pinned this one."""
    make_certificate(tmp_path, ["box"])
    (tmp_path / name).write_text("damaged")
    before = {one: (tmp_path / one).read_bytes() for one in FILES}
    with pytest.raises(BadInputError, match=rf"{name}: is damaged; nothing was changed"):
        make_certificate(tmp_path, ["box"])
    assert {one: (tmp_path / one).read_bytes() for one in FILES} == before


def test_a_missing_key_of_the_authority_is_one_line(tmp_path):
    make_certificate(tmp_path, ["box"])
    (tmp_path / AUTHORITY_KEY).unlink()
    with pytest.raises(StorageError, match=rf"{AUTHORITY_KEY}: cannot be read \(No such file"):
        make_certificate(tmp_path, ["box"])
