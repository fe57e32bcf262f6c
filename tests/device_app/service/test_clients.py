"""The file of the clients: its errors never advise to remove tokens that are good."""

import json
import stat

import pytest

from device_app.service.clients import FORMAT_VERSION, Clients
from editing.errors import BadInputError, StorageError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "service" / "tokens.json"


@pytest.fixture
def clients(path):
    found = Clients(path.parent)
    found.add("kitchen")
    return found


def test_a_token_is_found_until_it_is_revoked(clients, path):
    token = clients.add("phone")
    assert clients.find(token) == "phone"
    assert token not in path.read_text()
    assert not stat.S_IMODE(path.stat().st_mode) & 0o077
    clients.revoke("phone")
    assert clients.find(token) is None
    assert [*clients.hashes()] == ["kitchen"]


def test_a_wrong_name_is_answered_with_what_to_do(clients):
    with pytest.raises(BadInputError, match="'asr-edge service token revoke kitchen' revokes it"):
        clients.add("kitchen")
    with pytest.raises(BadInputError, match="'nobody' has no token; these have one: kitchen"):
        clients.revoke("nobody")
    clients.revoke("kitchen")
    with pytest.raises(BadInputError, match="no client has one"):
        clients.revoke("kitchen")


def test_a_file_of_a_later_version_is_not_called_damaged(clients, path):
    text = json.dumps({**json.loads(path.read_text()), "format_version": FORMAT_VERSION + 1})
    path.write_text(text)
    for use in (clients.hashes, lambda: clients.add("phone"), lambda: clients.revoke("kitchen")):
        with pytest.raises(StorageError, match=r"tokens\.json: .*later version .*Update asr-edge") as raised:
            use()
        assert "remove" not in str(raised.value)
    assert path.read_text() == text


def test_a_file_that_cannot_be_read_is_not_called_damaged(clients, path):
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match=r"tokens\.json: cannot be read \(Is a directory\)") as raised:
        clients.hashes()
    assert "remove" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"format_version": 0, "clients": {}}',
        '{"format_version": true, "clients": {}}',
        '{"format_version": 1}',
        '{"format_version": 1, "clients": []}',
        '{"format_version": 1, "clients": {"a": 5}}',
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(clients, path, text):
    path.write_text(text)
    with pytest.raises(StorageError, match=r"tokens\.json: is damaged .*remove it, and add the tokens again"):
        clients.hashes()
    assert path.read_text() == text


def test_a_folder_that_cannot_be_made_is_a_storage_error(path):
    path.parent.write_text("a file in the place of the folder")
    with pytest.raises(StorageError, match=r"cannot be written"):
        Clients(path.parent).add("kitchen")
