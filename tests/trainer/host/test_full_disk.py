"""A host on a full disk of 6 MB: writes are refused with Retry-After, and deleting works."""

import hashlib
import os
import shutil
import subprocess

import httpx2 as httpx
import pytest

from trainer.host import jobs as jobs_module
from trainer.host.contributions import incoming_file
from trainer.host.limits import Limits

SIZE = "6m"


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def host_home(disk, tiny_bundle, tmp_path, monkeypatch):
    folder = disk / "home"
    shutil.copytree(tiny_bundle.folder, tmp_path / "models" / "tiny")
    folder.mkdir()
    (folder / "models").symlink_to(tmp_path / "models")
    monkeypatch.setenv("ASR_EDGE_HOME", str(folder))
    return folder


def exhaust(disk):
    with (disk / "filler").open("ab", buffering=0) as filler:
        while True:
            try:
                filler.write(b"\0" * 4096)
            except OSError:
                break
    assert os.statvfs(disk).f_bavail == 0


def create(client, key, data):
    dataset = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    request = {"key": key * 32, "base": "a" * 64, "edits": [], "dataset": dataset, "settings": {"epochs": 1}}
    return client.post("/v1/jobs", json=request)


def send(client, job, data):
    return client.patch(f"/v1/jobs/{job}/dataset", content=data, headers={"Upload-Offset": "0"})


def assert_full(answer):
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True), answer.text
    assert "full" in answer.json()["detail"]
    assert "disk/" not in answer.text  # the host's paths are its own


def files_of(host_home):
    return {path.name for path in (host_home / "host" / "jobs").rglob("*") if path.is_file()}


def test_every_write_is_refused_and_deleting_frees_space(serve, client_of, host_home, disk):
    url = serve()
    phone = client_of(url, fleet="crew")
    large, small = os.urandom(2_000_000), os.urandom(500_000)
    first, second = create(phone, "0", large).json()["id"], create(phone, "1", small).json()["id"]
    assert send(phone, first, large).json()["state"] == "queued"
    exhaust(disk)
    before = files_of(host_home)
    assert_full(create(phone, "2", small))
    assert_full(send(phone, second, small))
    assert_full(phone.put(f"/v1/groups/crew/contributions/{'c' * 64}", content=small))
    assert files_of(host_home) == before
    assert not list(incoming_file(host_home / "host", 0).parent.glob("*"))
    assert httpx.get(f"{url}/v1/health").status_code == 200
    assert [job["state"] for job in phone.get("/v1/jobs").json()["jobs"]] == ["queued", "uploading"]
    assert phone.delete(f"/v1/jobs/{first}").status_code == 204
    assert phone.get(f"/v1/jobs/{first}").json()["state"] == "cancelled"
    assert shutil.disk_usage(disk).free > 1_000_000
    assert (host_home / "host" / "reserve").exists()  # kept again
    assert send(phone, second, small).json()["state"] == "queued"


def test_a_disk_that_becomes_full_during_an_upload_keeps_no_part_of_it(serve, client_of, host_home, disk):
    phone = client_of(serve())
    data = os.urandom(3_000_000)
    job = create(phone, "0", data).json()["id"]

    def body():
        yield data[:1_500_000]
        exhaust(disk)
        yield data[1_500_000:]

    assert_full(send(phone, job, body()))
    assert "dataset.tar" not in files_of(host_home)
    assert phone.get(f"/v1/jobs/{job}").json()["received"] == 0
    (disk / "filler").unlink()
    assert send(phone, job, data).json()["state"] == "queued"


def test_uploads_leave_a_reserve(serve, client_of, disk):
    url = serve()
    refused = []
    for number in range(8):  # more than fits; each from another device
        data = os.urandom(800_000)
        client = client_of(url, f"phone-{number}")
        answer = create(client, "0", data)
        refused.append(answer.status_code == 503)
        if not refused[-1]:
            assert send(client, answer.json()["id"], data).status_code == 200
    assert not refused[0]
    assert refused[-1]
    assert shutil.disk_usage(disk).free > 400_000


def test_queued_jobs_wait_while_the_disk_is_full(make_jobs, database, disk, monkeypatch):
    class Executor:
        slots = 1

    jobs = make_jobs(Executor(), Limits())
    job, _ = database.add_job(database.local_device().id, "0" * 32, {"dataset": {"bytes": 1}})
    database.transition(job.id, ["uploading"], "queued")
    launched = []
    monkeypatch.setattr(jobs_module.Jobs, "_launch", lambda _jobs, one: launched.append(one.id))
    exhaust(disk)
    jobs.update()
    assert (database.job(job.id).state, launched) == ("queued", [])
    (disk / "filler").unlink()
    jobs.update()
    assert launched == [job.id]
