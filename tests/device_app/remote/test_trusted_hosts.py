"""Hosts that a device trusts: pinned keys, tokens and file permissions."""

import stat

import pytest

from device_app.remote.trusted_hosts import (
    Host,
    checked_url,
    find_host,
    hosts,
    read_hosts,
    record_consent,
    remove_host,
    save_host,
)
from editing.errors import BadInputError, StorageError


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path))
    return tmp_path


def test_a_host_is_saved_with_its_token_in_a_file_that_only_the_owner_can_read(own_home):
    save_host(Host("https://box:8443", "key", "authority", "secret"))
    found = find_host("https://box:8443/")
    assert (found.key, found.token, found.consent) == ("key", "secret", False)
    assert stat.S_IMODE((own_home / "hosts.json").stat().st_mode) == 0o600
    assert record_consent(found).consent
    assert find_host("https://box:8443").consent
    remove_host("https://box:8443")
    assert hosts() == {}
    with pytest.raises(BadInputError, match="host trust https://box:8443"):
        find_host("https://box:8443")


@pytest.mark.parametrize(
    "url",
    [
        "box",
        "ftp://box",
        "https://",
        "https://box/path",
        "https://box?x=1",
        "https://box:port",
        "https://me:pass@box",
        "http://box:8443",
        "http://192.168.1.2:8443",
        "file:///etc/passwd",
    ],
)
def test_urls_other_than_https_to_a_host_are_refused(url):
    with pytest.raises(BadInputError):
        checked_url(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8443", "http://localhost:8443/", "http://[::1]:8443", "https://box"])
def test_http_is_accepted_on_this_machine(url):
    assert checked_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "content",
    [
        "{",
        '{"https://box": {"url": "https://other", "key": "key"}}',
        '{"https://box": {"url": "https://box", "key": []}}',
        '{"https://box": {"url": "https://box", "key": "key", "consent": "no"}}',
    ],
)
def test_a_damaged_list_of_hosts_is_an_error(own_home, content):
    (own_home / "hosts.json").write_text(content)
    with pytest.raises(StorageError, match=r"hosts\.json"):
        hosts()


def test_a_list_that_cannot_be_read_is_not_called_damaged(tmp_path):
    with pytest.raises(StorageError, match="cannot be read"):
        read_hosts(tmp_path)
