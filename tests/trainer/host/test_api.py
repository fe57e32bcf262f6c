"""The host's HTTP API on a real socket: authentication, refused requests, limits and resumed uploads."""

import hashlib
import logging
import ssl
import threading

import httpx2 as httpx
import pytest

from device_app.remote.tls import AUTHORITY, CERTIFICATE, CERTIFICATE_KEY
from device_app.service.http.sockets import only_tls_1_3
from tests.conftest import until
from trainer.host import api
from trainer.host.database import Database
from trainer.host.limits import Limits

REQUEST = {
    "key": "0" * 32,
    "base": "a" * 64,
    "edits": [],
    "dataset": {"sha256": hashlib.sha256(b"0123456789").hexdigest(), "bytes": 10},
    "settings": {"epochs": 1},
}


def create(client, **changes):
    return client.post("/v1/jobs", json={**REQUEST, **changes})


def send(client, job, data, offset=0):
    return client.patch(f"/v1/jobs/{job}/dataset", content=data, headers={"Upload-Offset": str(offset)})


def test_requests_need_a_valid_token(serve, client_of, database):
    url = serve()
    phone = client_of(url)
    assert phone.get("/v1/jobs").json() == {"jobs": []}
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic cGhvbmU6"}, {"Authorization": ""}):
        answer = httpx.get(f"{url}/v1/jobs", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    database.revoke("phone")
    assert phone.get("/v1/jobs").status_code == 401
    for path in ("/v1/jobs", f"/v1/jobs/{'0' * 32}", "/metrics", "/v1/groups/crew/vector/" + "a" * 64):
        assert httpx.get(url + path).status_code == 401


def test_wrong_tokens_are_rate_limited(serve):
    url = serve()
    answers = [httpx.get(f"{url}/v1/jobs", headers={"Authorization": f"Bearer {n}"}) for n in range(25)]
    assert answers[0].status_code == 401
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) > 0


def test_on_loopback_no_token_is_needed_but_another_host_header_is_refused(serve):
    url = serve(allows_anonymous=True)
    assert httpx.get(f"{url}/v1/jobs").status_code == 200
    assert httpx.get(f"{url}/v1/jobs", headers={"Host": "evil.example"}).status_code == 400
    assert httpx.get(f"{url}/v1/jobs", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_a_device_cannot_access_the_jobs_of_another(serve, client_of):
    url = serve()
    phone, tablet = client_of(url), client_of(url, "tablet")
    job = create(phone).json()["id"]
    assert tablet.get("/v1/jobs").json() == {"jobs": []}
    for path in ("", "/events", "/task-vector"):
        assert tablet.get(f"/v1/jobs/{job}{path}").status_code == 404
    assert tablet.delete(f"/v1/jobs/{job}").status_code == 404
    assert send(tablet, job, b"0123456789").status_code == 404
    assert create(tablet).json()["id"] != job  # the same key from another device is another job
    assert phone.get(f"/v1/jobs/{job}").json()["received"] == 0


def test_a_repeated_request_gives_the_same_job(serve, client_of):
    phone = client_of(serve())
    first, again = create(phone), create(phone)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    other = create(phone, base="b" * 64)
    assert other.status_code == 422
    assert "another request" in other.json()["detail"]


def test_an_upload_resumes_at_its_offset_and_is_accepted_once(serve, client_of):
    phone = client_of(serve())
    job = create(phone).json()["id"]
    assert send(phone, job, b"01234").json()["received"] == 5
    assert send(phone, job, b"01234").status_code == 409  # replayed
    assert send(phone, job, b"9", offset=9).status_code == 409  # beyond the received bytes
    assert phone.get(f"/v1/jobs/{job}").json()["received"] == 5
    whole = send(phone, job, b"56789", offset=5).json()
    assert (whole["state"], whole["received"]) == ("queued", 10)
    again = send(phone, job, b"0123456789")
    assert (again.status_code, again.json()["state"]) == (200, "queued")


def test_bytes_other_than_announced_are_refused(serve, client_of):
    phone = client_of(serve())
    job = create(phone).json()["id"]
    assert send(phone, job, b"x" * 11).status_code == 413
    assert phone.get(f"/v1/jobs/{job}").json()["state"] == "uploading"
    received = phone.get(f"/v1/jobs/{job}").json()["received"]
    wrong = send(phone, job, b"x" * (10 - received), offset=received)
    assert wrong.status_code == 422
    assert phone.get(f"/v1/jobs/{job}").json()["received"] == 0
    assert send(phone, job, b"0123456789").json()["state"] == "queued"


REFUSED = [
    {"command": "rm -rf /"},
    {"key": "../../../../etc/passwd"},
    {"key": "0" * 31},
    {"base": "/etc/passwd"},
    {"dataset": {"sha256": "a" * 64, "bytes": -1}},
    {"dataset": {"sha256": "a" * 64, "bytes": 1, "path": "/etc/passwd"}},
    {"settings": {"script": "evil.py"}},
    {"settings": {"scope": "__import__('os')"}},
    {"settings": {"epochs": 10**9}},
    {"settings": {"epochs": "1"}},
    {"settings": {"density": 0}},
    {"edits": [{"vectors": ["../x"], "method": "ties", "settings": {}}]},
    {"edits": [{"vectors": ["a" * 64], "method": "os.system", "settings": {}}]},
    {"edits": [{"vectors": ["a" * 64], "method": "ties", "settings": {"lam": [1] * 10**4}}]},
    {"edits": [{"vectors": [], "method": "ties", "settings": {}}]},
]


def test_invalid_requests_are_refused(serve, client_of, subtests):
    phone = client_of(serve())
    for changes in REFUSED:
        with subtests.test(changes=str(changes)[:80]):
            assert create(phone, **changes).status_code == 422
    assert phone.get("/v1/jobs").json() == {"jobs": []}


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_json_body_above_the_limit_is_refused(serve, client_of, is_chunked):
    phone = client_of(serve(limits=Limits(json_bytes=2000)))
    data = b'{"key": "' + b"0" * 100_000 + b'"}'
    content = iter([data]) if is_chunked else data
    answer = phone.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert create(phone).status_code == 201


def test_limits_are_reported_with_retry_after(serve, client_of):
    url = serve(limits=Limits(jobs=2, jobs_of_device=1, archive_bytes=10))
    phone, tablet, watch = client_of(url), client_of(url, "tablet"), client_of(url, "watch")
    assert create(phone, dataset={"sha256": "a" * 64, "bytes": 11}).status_code == 413
    assert create(phone).status_code == 201
    second = create(phone, key="1" * 32)
    assert (second.status_code, int(second.headers["Retry-After"]) > 0) == (429, True)
    assert create(tablet).status_code == 201
    third = create(watch)
    assert (third.status_code, int(third.headers["Retry-After"]) > 0) == (503, True)
    phone.delete(f"/v1/jobs/{create(phone).json()['id']}")
    assert create(watch).status_code == 201


def test_the_request_rate_is_limited_per_device(serve, client_of):
    url = serve(limits=Limits(requests_per_minute=5))
    phone, tablet = client_of(url), client_of(url, "tablet")
    assert [phone.get("/v1/jobs").status_code for _ in range(7)] == [200] * 5 + [429] * 2
    assert tablet.get("/v1/jobs").status_code == 200


def test_a_cancelled_job_leaves_no_files(serve, client_of, host_home):
    phone = client_of(serve())
    job = create(phone).json()["id"]
    send(phone, job, b"0123456789")
    folder = host_home / "host" / "jobs" / job
    assert folder.is_dir()
    assert phone.delete(f"/v1/jobs/{job}").status_code == 204
    assert not folder.exists()
    assert phone.get(f"/v1/jobs/{job}").json()["state"] == "cancelled"
    assert phone.get(f"/v1/jobs/{job}/task-vector").status_code == 410
    assert send(phone, job, b"0123456789").json()["state"] == "cancelled"
    assert not folder.exists()


def test_health_identity_and_metrics(serve, client_of, keys):
    url = serve()
    phone = client_of(url)
    create(phone)
    assert httpx.get(f"{url}/v1/identity").json() == {"key": keys.public_key, "authority": keys.authority}
    assert httpx.get(f"{url}/v1/health").json() == {"status": "ok", "queued": 0, "running": 0}
    assert 'asr_edge_jobs{state="uploading"} 1.0' in phone.get("/metrics").text
    assert set(httpx.get(f"{url}/openapi.json").json()["paths"]) >= {"/v1/jobs", "/v1/jobs/{identity}/events"}


def test_events_report_each_state_and_end_with_the_job(serve, client_of):
    phone = client_of(serve())
    job = create(phone).json()["id"]
    states = []
    with phone.stream("GET", f"/v1/jobs/{job}/events") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data:"):
                states.append("queued" if '"queued"' in line else "cancelled" if '"cancelled"' in line else "uploading")
                if states[-1] == "uploading":
                    send(phone, job, b"0123456789")
                elif states[-1] == "queued":
                    phone.delete(f"/v1/jobs/{job}")
    assert list(dict.fromkeys(states)) == ["uploading", "queued", "cancelled"]


def test_tokens_and_data_are_not_logged(serve, client_of, caplog):
    caplog.set_level(logging.DEBUG)
    url = serve()
    phone = client_of(url)
    job = create(phone).json()["id"]
    send(phone, job, b"0123456789")
    phone.post("/v1/jobs", content=b"{not json", headers={"Content-Type": "application/json"})
    secret = phone.headers["Authorization"].removeprefix("Bearer ")
    ours = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("http"))
    assert secret not in ours
    assert "0123456789" not in ours


def test_tls_uses_the_hosts_authority_and_only_version_1_3(serve, host_home, keys):
    folder = host_home / "host"
    url = serve(
        ssl_certfile=str(folder / CERTIFICATE),
        ssl_keyfile=str(folder / CERTIFICATE_KEY),
        ssl_context_factory=only_tls_1_3,
    )
    pinned = ssl.create_default_context(cafile=str(folder / AUTHORITY))
    assert httpx.get(f"{url}/v1/health", verify=pinned).status_code == 200
    with pytest.raises(httpx.ConnectError, match=r"(?i)certificate verify failed"):
        httpx.get(f"{url}/v1/health")
    old = ssl.create_default_context(cafile=str(folder / AUTHORITY))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/v1/health", verify=old)


@pytest.mark.filterwarnings("ignore")
def test_no_generated_request_causes_a_server_error(serve, client_of):
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, given, settings

    url = serve(limits=Limits(requests_per_minute=10**6, jobs_of_device=10**6, jobs=10**6))
    phone = client_of(url, fleet="crew")
    create(phone)
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    failed = []
    for operation in schema.get_all_operations():

        @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.ok().as_strategy())
        def call(case):
            answer = case.call(headers=dict(phone.headers), timeout=10)
            if answer.status_code >= 500 and answer.status_code != 503:
                failed.append((case.method, case.path, answer.status_code))

        call()
    assert not failed
    until(lambda: httpx.get(f"{url}/v1/health").status_code == 200)


def test_health_is_answered_while_all_threads_wait_for_the_disk(serve, client_of, database, monkeypatch):
    """A shared folder that stalls blocks every request that needs it, but not the one that monitoring asks."""
    url = serve()
    phone = client_of(url)
    stalled = threading.Event()
    waiting = []

    def stall(_database, identity, *_device):
        waiting.append(identity)
        stalled.wait(30)

    monkeypatch.setattr(Database, "job", stall)
    threads = [threading.Thread(target=phone.get, args=(f"/v1/jobs/{number:032x}",)) for number in range(60)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(waiting) >= 40)
        assert httpx.get(f"{url}/v1/health", timeout=10).status_code == 200
    finally:
        stalled.set()
        for thread in threads:
            thread.join()


def test_health_says_when_jobs_are_not_processed(serve, client_of, monkeypatch):
    url = serve()
    create(client_of(url))
    released = threading.Event()
    monkeypatch.setattr(api, "STALLED_S", 0.5)
    monkeypatch.setattr(Database, "count", lambda *_: released.wait(20) or 0)  # the thread asks this first
    until(lambda: httpx.get(f"{url}/v1/health").status_code == 503)
    answer = httpx.get(f"{url}/v1/health")
    assert int(answer.headers["Retry-After"]) > 0
    assert "disk" in answer.json()["detail"]
    released.set()
