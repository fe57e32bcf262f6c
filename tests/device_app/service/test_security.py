"""Who may use the service: nobody else's page, and beyond loopback nobody without a token."""

import pytest

from device_app.service.clients import Clients
from device_app.service.security import COOKIE, Access


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.nip.io", ""])
def test_a_host_that_is_not_a_name_of_the_service_is_refused(url, client, host):
    answer = client.get(f"{url}/v1/models", headers={"Host": host})
    assert answer.status_code in (400, 403)
    assert "data" not in answer.json() if answer.status_code == 403 else True


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "LOCALHOST", "[::1]:8765"])
def test_the_names_of_loopback_are_accepted(url, client, host):
    assert client.get(f"{url}/v1/models", headers={"Host": host}).json()["data"][0]["id"] == "asr-edge"


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1", "file://", "http://[::1", "http://[x]"],
)
def test_another_origin_is_refused(url, client, origin):
    answer = client.get(f"{url}/v1/models", headers={"Origin": origin})
    assert answer.status_code == 403
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_the_own_origin_is_accepted(url, client):
    assert client.get(f"{url}/v1/models", headers={"Origin": url}).status_code == 200


def test_a_browser_that_says_another_site_is_believed(url, client):
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    frame = {**link, "Sec-Fetch-Dest": "iframe"}
    assert client.get(f"{url}/health", headers=embedded).status_code == 403
    assert client.get(f"{url}/health", headers=frame).status_code == 403
    assert client.get(f"{url}/health", headers=link).status_code == 200


def test_with_tokens_only_a_valid_one_is_served(start, client, tmp_path):
    clients = Clients(tmp_path / "service")
    token = clients.add("kitchen")
    url, _ = start(access=Access(clients=clients, public=frozenset({"/health"})))
    models = f"{url}/v1/models"
    assert client.get(models).status_code == 401
    assert client.get(models, headers={"Authorization": "Bearer asr-edge-wrong"}).status_code == 401
    assert client.get(models, headers={"Authorization": f"Basic {token}"}).status_code == 401
    assert client.get(models, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert client.get(models, headers={"Cookie": f"{COOKIE}={token}"}).status_code == 200
    assert client.get(f"{url}/health").status_code == 200
    clients.revoke("kitchen")
    assert client.get(models, headers={"Authorization": f"Bearer {token}"}).status_code == 401
