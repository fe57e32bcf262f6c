"""Requests that once broke the host: bodies that are not JSON, cancelled uploads, wrong and revoked tokens, jumps."""

import hashlib
import io
import json
import logging
import socket
import time

import httpx2 as httpx
import pytest

from device_app.remote.archive import pack
from device_app.service.http import logs
from device_app.service.http.logs import JsonFormatter
from editing.errors import BadInputError
from tests.conftest import until
from tests.trainer.host.test_api import REQUEST, create, send
from trainer.host import retention
from trainer.host.contributions import incoming_file
from trainer.host.job_folder import JobFolder
from trainer.host.limits import Limits
from trainer.host.retention import Retention, SeenAges
from trainer.host.server import Address
from trainer.host.serving.json_bodies import JsonBodies

BODIES = {
    "NaN": json.dumps(REQUEST).replace('"epochs": 1', '"density": NaN').encode(),
    "Infinity": json.dumps(REQUEST).replace('"epochs": 1', '"density": -Infinity').encode(),
    "too large for float64": json.dumps(REQUEST).replace('"epochs": 1', '"density": 1e999').encode(),
    "lone surrogate": json.dumps({**REQUEST, "x": 0}).replace('"x": 0', r'"\ud800": "\udfff"').encode(),
    "100,000 brackets": b"[" * 100_000,
    "not UTF-8": b'{"key": "\xff"}',
    "an integer of 10,000 digits": b'{"key": ' + b"9" * 10_000 + b"}",
    "a vector named 24 times": json.dumps(
        {**REQUEST, "edits": [{"vectors": ["a" * 64] * 24, "method": "ties", "settings": {}}]}
    ).encode(),
    "vectors named 600 times": json.dumps(
        {**REQUEST, "edits": [{"vectors": ["a" * 64], "method": "ties", "settings": {}}] * 200
         + [{"vectors": [f"{n:064x}" for n in range(40)], "method": "ties", "settings": {}}] * 10}
    ).encode(),
}  # fmt: skip


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
def test_bodies_that_are_not_a_request_are_refused(serve, client_of, subtests, content_type):
    phone = client_of(serve())
    for name, body in BODIES.items():
        with subtests.test(name):
            answer = phone.post("/v1/jobs", content=body, headers={"Content-Type": content_type})
            assert answer.status_code == 422, answer.text
    assert phone.get("/v1/jobs").json() == {"jobs": []}


def test_a_body_that_does_not_arrive_ends_the_request(serve, monkeypatch):
    monkeypatch.setattr(JsonBodies.__init__, "__defaults__", (0.3,))
    port = int(serve().rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_cancelling_during_an_upload_ends_the_upload(serve, client_of, host_home):
    url = serve()
    phone = client_of(url)
    data = bytes(3_000_000)
    dataset = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    job = create(phone, dataset=dataset).json()["id"]
    folder = host_home / "host" / "jobs" / job

    def body():
        yield data[:2_000_000]
        until((folder / "dataset.tar").is_file)
        assert httpx.delete(f"{url}/v1/jobs/{job}", headers=phone.headers).status_code == 204
        yield data[2_000_000:]

    assert send(phone, job, body()).status_code == 409
    assert phone.get(f"/v1/jobs/{job}").json()["state"] == "cancelled"
    assert not folder.exists()


def test_a_job_cancelled_between_upload_and_queue_leaves_nothing(make_jobs, database):
    jobs = make_jobs()
    request = {"dataset": {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1}}
    job, _ = database.add_job(database.local_device().id, "0" * 32, request)
    jobs.folder(job).mkdir(parents=True)
    jobs.archive(job).write_bytes(b"x")
    database.transition(job.id, ["uploading"], "cancelled")
    jobs.received_all(job)
    assert database.job(job.id).state == "cancelled"
    assert not jobs.folder(job).exists()


def test_wrong_tokens_do_not_lock_out_a_right_one(serve, client_of):
    url = serve()
    phone = client_of(url)
    with httpx.Client(base_url=url, headers={"Authorization": "Bearer wrong"}) as stranger:
        answers = [stranger.get("/v1/jobs").status_code for _ in range(25)]
    assert (answers[0], answers[-1]) == (401, 429)
    assert phone.get("/v1/jobs").status_code == 200


@pytest.mark.parametrize(("proxies", "last"), [((), 429), (("127.0.0.1",), 401)])
def test_forwarded_addresses_count_only_from_a_configured_proxy(serve, proxies, last):
    url = serve(proxies=proxies)
    with httpx.Client(base_url=url) as client:
        for n in range(25):
            headers = {"Authorization": "Bearer wrong", "X-Forwarded-For": f"10.0.0.{n}"}
            answer = client.get("/v1/jobs", headers=headers)
    assert answer.status_code == last


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
def test_on_loopback_a_forwarded_request_needs_a_token(serve, header):
    """A proxy on the same machine let everybody train without a token."""
    url = serve(allows_anonymous=True)
    assert httpx.get(f"{url}/v1/jobs").status_code == 200
    assert httpx.get(f"{url}/v1/jobs", headers={header: "203.0.113.7"}).status_code == 401


def test_a_proxy_means_that_requests_come_from_other_machines():
    assert Address().allows_anonymous
    assert not Address(proxies=("127.0.0.1",)).allows_anonymous
    assert not Address("0.0.0.0").allows_anonymous


def test_the_open_stream_of_a_revoked_device_ends(serve, client_of, database):
    phone = client_of(serve())
    job = create(phone).json()["id"]
    with phone.stream("GET", f"/v1/jobs/{job}/events") as answer:
        lines = answer.iter_lines()
        assert '"uploading"' in next(line for line in lines if line.startswith("data:"))
        database.revoke("phone")
        assert not [line for line in lines if line.startswith("data:")]


def test_a_revoked_name_can_be_added_again_without_the_former_jobs(serve, client_of, database):
    url = serve()
    former = client_of(url)
    job = create(former).json()["id"]
    database.revoke("phone")
    new = client_of(url)
    assert former.get("/v1/jobs").status_code == 401
    assert new.get("/v1/jobs").json() == {"jobs": []}
    assert new.get(f"/v1/jobs/{job}").status_code == 404
    with pytest.raises(BadInputError, match="already exists"):
        database.add_device("phone")
    database.revoke("phone")
    database.add_device("phone")
    assert [device.name for device in database.devices()] == ["phone (former 1)", "phone (former 2)", "phone"]


# Quotas and expiry


def test_a_device_has_a_quota_of_bytes_and_of_remembered_jobs(serve, client_of, database):
    phone = client_of(serve(limits=Limits(device_bytes=15, ended_of_device=2)))
    assert create(phone).status_code == 201
    second = create(phone, key="1" * 32)
    assert (second.status_code, int(second.headers["Retry-After"]) > 0) == (429, True)
    for number in range(6):
        job = create(phone, key=f"{number:032x}").json()["id"]
        phone.delete(f"/v1/jobs/{job}")
    assert len(database.jobs("cancelled")) <= 3


class Clock:
    def __init__(self):
        self.seen = 0.0

    def monotonic(self):
        return self.seen


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(retention, "time", clock)
    return clock


def test_only_time_that_was_seen_ages_things(tmp_path, clock):
    ages = SeenAges(tmp_path / "ages.json")
    assert ages.update(["a"]) == {"a": 0.0}
    clock.seen = 100.0
    assert ages.update(["a", "b"]) == {"a": 100.0, "b": 0.0}
    clock.seen = 5000.0  # the host was off meanwhile
    later = SeenAges(tmp_path / "ages.json")
    clock.seen = 5010.0
    assert later.update(["a", "c"]) == {"a": 110.0, "c": 0.0}
    (tmp_path / "ages.json").write_text("[")
    assert SeenAges(tmp_path / "ages.json").update(["a"]) == {"a": 0.0}


def test_a_clock_that_jumps_expires_nothing(host_home, database, clock, monkeypatch):
    job, _ = database.add_job(database.local_device().id, "0" * 32, {"dataset": {"bytes": 1}})
    files = JobFolder(host_home / "host" / "jobs" / job.id)
    files.path.mkdir(parents=True)
    files.vector.write_bytes(b"vector")
    database.transition(job.id, ["uploading"], "done")
    kept = Retention(host_home / "host", database, Limits(), keep=False)
    year = 365 * 86400
    monkeypatch.setattr(time, "time", lambda: 1e9 + 50 * year)
    assert kept.clean_up() == []
    assert files.vector.is_file()
    clock.seen = Limits().keep_hours * 3600 + 1
    kept.clean_up()
    assert not files.path.exists()
    assert database.job(job.id) is not None
    clock.seen = Limits().record_hours * 3600 + 1
    kept.clean_up()
    assert database.job(job.id) is None


def test_abandoned_uploads_and_contributions_expire(host_home, database, clock):
    limits = Limits()
    device = database.local_device().id
    job, _ = database.add_job(device, "0" * 32, {"dataset": {"bytes": 10}})
    archive = JobFolder(host_home / "host" / "jobs" / job.id).archive
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"1")
    killed = incoming_file(host_home / "host", device)
    killed.parent.mkdir(parents=True)
    killed.write_bytes(b"part")
    database.contribute(device, "crew", "a" * 64, "c" * 64, {})
    vector = retention.vector_file(host_home / "host", "c" * 64)
    vector.write_bytes(b"vector")
    kept = Retention(host_home / "host", database, limits, keep=False)
    assert kept.clean_up() == []
    archive.write_bytes(b"12")  # it goes on, so its age starts again
    clock.seen = limits.upload_hours * 3600 + 1
    assert kept.clean_up() == []
    assert not killed.exists()
    clock.seen *= 2
    assert [one.id for one in kept.clean_up()] == [job.id]
    clock.seen = limits.contribution_hours * 3600 + 1
    kept.clean_up()
    assert not vector.exists()
    assert database.contributions("crew", "a" * 64) == []


def test_a_recording_counts_as_often_as_it_is_listed(training_set, tmp_path, monkeypatch):
    from device_app.remote import archive

    once = training_set.training[0]
    monkeypatch.setattr(archive, "MAX_SPEECH_S", 60.0)  # each recording here has 2 s
    pack(tmp_path / "few.tar", [once] * 25, [])
    assert len(archive.unpack(tmp_path / "few.tar", tmp_path / "few").training) == 25
    pack(tmp_path / "many.tar", [once] * 35, [])
    with pytest.raises(BadInputError, match="counts as often as it is listed"):
        archive.unpack(tmp_path / "many.tar", tmp_path / "many")


def test_20_000_listings_of_one_recording_are_more_than_the_limit():
    from device_app.remote import archive

    assert archive.MAX_UTTERANCES * 30 > archive.MAX_SPEECH_S


# OpenAPI and logs


def test_openapi_names_the_status_of_every_refusal(serve, client_of):
    url = serve(limits=Limits(requests_per_minute=10**6))
    phone = client_of(url, fleet="crew")
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    job = create(phone).json()["id"]
    values = {
        "identity": [job, "0" * 32, "x"],
        "group": ["crew", "vans"],
        "base": ["a" * 64, "x"],
        "vector": ["a" * 64],
    }
    seen = set()
    for path, operations in paths.items():
        for method, operation in operations.items():
            names = [one["name"] for one in operation.get("parameters", []) if one["in"] == "path"]
            tries = [{name: values[name][min(n, len(values[name]) - 1)] for name in names} for n in range(3)]
            for chosen, token in ((one, token) for one in tries for token in (True, False)):
                if path.endswith("/events") and (token and chosen["identity"] == job):
                    continue  # does not end
                headers = {"Upload-Offset": "5", **(dict(phone.headers) if token else {"Authorization": "Bearer no"})}
                answer = httpx.request(method, url + path.format(**chosen), headers=headers, content=b"[1]")
                assert str(answer.status_code) in operation["responses"], (method, path, answer.status_code)
                seen.add(answer.status_code)
    assert {401, 404, 422, 429} <= seen


def test_logs_have_fields_and_no_content(serve, client_of, monkeypatch):
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(JsonFormatter())
    monkeypatch.setattr(logs.log, "handlers", [handler])
    monkeypatch.setattr(logs.log, "level", logging.INFO)
    monkeypatch.setattr(logs.log, "_cache", {})
    phone = client_of(serve())
    job = create(phone).json()["id"]
    send(phone, job, b"0123456789")
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/v1/jobs", 201),
        ("PATCH", "/v1/jobs/{identity}/dataset", 200),
    ]
    assert lines[0].keys() == {"time", "level", "logger", "event", "method", "route", "status", "ms"}
    for secret in (phone.headers["Authorization"][7:], "0123456789", job):
        assert secret not in output.getvalue()


def test_an_exception_is_logged_without_its_message():
    try:
        raise ValueError("the secret text of an utterance")
    except ValueError as error:
        raised = (ValueError, error, error.__traceback__)
        record = logging.LogRecord("trainer.host.jobs", logging.ERROR, "", 0, "failed", (), raised)
    line = json.loads(JsonFormatter().format(record))
    assert (line["error"], line["at"][-1].split(":")[0]) == ("ValueError", "test_hostile_requests.py")
    assert "secret" not in json.dumps(line)


def test_vectors_that_a_kill_left_without_a_record_expire_but_not_those_that_are_offered(host_home, database, clock):
    """Regression: nothing removed the file of a contribution whose request was killed before it was recorded."""
    orphan, offered, used = (retention.vector_file(host_home / "host", letter * 64) for letter in "abc")
    orphan.parent.mkdir(parents=True)
    for path in (orphan, offered, used):
        path.write_bytes(b"vector")
    database.offer("crew", "d" * 64, "b" * 64, "{}", "", "{}")
    database.contribute(database.local_device().id, "crew", "d" * 64, "c" * 64, {})
    kept = Retention(host_home / "host", database, Limits(), keep=False)
    kept.clean_up()
    assert orphan.exists()
    clock.seen = Limits().upload_hours * 3600 + 1
    kept.clean_up()
    assert [path.exists() for path in (orphan, offered, used)] == [False, True, True]
