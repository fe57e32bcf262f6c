"""Jobs run by real worker processes: each ends once, with one vector, whichever process is killed."""

import hashlib
import os
import signal

import numpy as np
import pytest

from device_app.remote.archive import pack
from device_app.remote.client import HostClient
from device_app.remote.jobs import ARCHIVE
from device_app.remote.signatures import verify_document
from device_app.remote.training import fetch, send
from editing.sparsify import trim
from editing.task_vector import TaskVector
from tests.conftest import until
from trainer.executors import LocalExecutor, RayExecutor
from trainer.host import jobs as jobs_module
from trainer.host.limits import Limits
from trainer.host.worker import run_job
from trainer.training.finetuning import finetune_for_training_set
from trainer.training.settings import FineTuningSettings


class Watched(LocalExecutor):
    """The real executor, which also lists the processes that it starts."""

    def __init__(self):
        self.processes = []

    def start(self, task):
        running = super().start(task)
        self.processes.append(running._process)
        return running


def queued(jobs, device, packed, **settings):
    """Adds a job whose dataset has been uploaded; returns its id."""
    job = packed(**settings)
    added, _ = jobs.database.add_job(device, job.key, job.request)
    jobs.folder(added).mkdir(parents=True)
    jobs.archive(added).write_bytes((job.folder / ARCHIVE).read_bytes())
    jobs.received_all(added)
    job.delete()
    return added.id


@pytest.fixture
def device(database):
    return database.local_device().id


def ended(jobs, identity):
    until(lambda: jobs.database.job(identity).state in ("done", "failed", "cancelled"))
    return jobs.database.job(identity)


def test_a_job_gives_the_signed_vector_of_local_training_and_keeps_no_recording(
    one_processor, make_jobs, device, packed, training_set, keys
):
    before = os.umask(0o022)
    try:
        jobs = make_jobs(LocalExecutor())
        identity = queued(jobs, device, packed)
        jobs.start()
        job = ended(jobs, identity)
    finally:
        os.umask(before)
    assert job.state == "done", job.error
    assert [path for path in jobs.folder(job).rglob("*") if path.stat().st_mode & 0o077] == []
    assert jobs.folder(job).stat().st_mode & 0o077 == 0
    local = finetune_for_training_set(training_set, FineTuningSettings(epochs=2, seed=3)).vector
    path = jobs.vector(job)
    found = TaskVector.load(path).tensors
    for name, tensor in local.tensors.items():
        np.testing.assert_allclose(found[name], trim(tensor, 0.5), atol=1e-5)
    assert any(np.any(tensor) for tensor in found.values())
    record = verify_document(job.statement, job.signature, keys.public_key)
    assert record["vector"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["dataset"] == job.request["dataset"]["sha256"]
    assert [file.name for file in jobs.folder(job).iterdir()] == ["vector.safetensors"]


@pytest.mark.slow
def test_a_killed_worker_is_restarted_and_gives_one_vector(make_jobs, device, packed):
    executor = Watched()
    jobs = make_jobs(executor)
    identity = queued(jobs, device, packed, epochs=30)
    jobs.start()
    job = jobs.database.job(identity)
    until(lambda: jobs.progress(job) is not None)
    os.kill(executor.processes[0].pid, signal.SIGKILL)
    job = ended(jobs, identity)
    assert job.state == "done", job.error
    assert (len(executor.processes), job.attempts) == (2, 1)


@pytest.mark.slow
def test_a_job_fails_after_its_worker_died_too_often(make_jobs, device, packed):
    executor = Watched()
    jobs = make_jobs(executor, Limits(attempts=2))
    identity = queued(jobs, device, packed, epochs=100)
    jobs.start()
    for number in range(2):
        process = until(lambda number=number: executor.processes[number : number + 1])[0]
        os.kill(process.pid, signal.SIGKILL)
    job = ended(jobs, identity)
    assert job.state == "failed"
    assert "died" in job.error


@pytest.mark.slow
def test_a_restarted_host_resumes_running_jobs(make_jobs, device, packed):
    first = make_jobs(Watched())
    identity = queued(first, device, packed, epochs=30)
    first.start()
    until(lambda: first.progress(first.database.job(identity)) is not None)
    first.stop()
    assert first.database.job(identity).state == "running"
    second = make_jobs(LocalExecutor())
    second.start()
    assert ended(second, identity).state == "done"


@pytest.mark.slow
def test_a_result_not_recorded_before_a_kill_is_recorded_without_training_again(make_jobs, device, packed, monkeypatch):
    jobs = make_jobs(LocalExecutor())
    identity = queued(jobs, device, packed)
    monkeypatch.setattr(jobs, "_end", lambda _job: None)  # the host is killed before it records the result
    jobs.start()
    until((jobs.folder(jobs.database.job(identity)) / "result.json").is_file)
    jobs.stop()
    executor = Watched()
    again = make_jobs(executor)
    again.update()
    assert again.database.job(identity).state == "done"
    assert not executor.processes


@pytest.mark.slow
def test_a_cancelled_job_stops_its_worker(make_jobs, device, packed):
    executor = Watched()
    jobs = make_jobs(executor)
    identity = queued(jobs, device, packed, epochs=200)
    jobs.start()
    process = until(lambda: executor.processes)[0]
    until(process.is_alive)
    jobs.cancel(jobs.database.job(identity))
    until(lambda: not process.is_alive())
    assert jobs.database.job(identity).state == "cancelled"


@pytest.mark.slow
def test_a_job_that_takes_too_long_fails(make_jobs, device, packed):
    jobs = make_jobs(LocalExecutor(), Limits(training_s=0.5))
    identity = queued(jobs, device, packed, epochs=200)
    jobs.start()
    job = ended(jobs, identity)
    assert (job.state, "longer than" in job.error) == ("failed", True)


@pytest.mark.slow
def test_recordings_are_kept_only_on_request(make_jobs, device, packed):
    jobs = make_jobs(LocalExecutor(), keep=True)
    identity = queued(jobs, device, packed)
    jobs.start()
    job = ended(jobs, identity)
    until(lambda: len(list(jobs.folder(job).iterdir())) == 2)
    assert jobs.archive(job).is_file()


def test_a_faulty_dataset_makes_the_job_fail(make_jobs, device, packed, training_set, tmp_path):
    jobs = make_jobs()
    training_set.training[0].file.write_bytes(b"fLaC but not really")
    identity = queued(jobs, device, packed)
    run_job(jobs.folder(jobs.database.job(identity)))  # in this process, as a worker would
    jobs.database.transition(identity, ["queued"], "running")
    jobs.update()
    job = jobs.database.job(identity)
    assert job.state == "failed"
    assert "not a readable recording" in job.error
    assert str(tmp_path) not in job.error


def test_files_that_no_job_needs_are_removed(make_jobs, device, packed, host_home, monkeypatch):
    jobs = make_jobs(limits=Limits(upload_hours=0))
    stray = host_home / "host" / "jobs" / ("f" * 32)
    stray.mkdir(parents=True)
    job = packed()
    added, _ = jobs.database.add_job(device, job.key, job.request)
    monkeypatch.setattr(jobs_module, "CLEAN_UP_S", 0.0)
    jobs.update()
    jobs.update()
    assert not stray.exists()
    assert jobs.database.job(added.id).state == "cancelled"  # an abandoned upload


@pytest.mark.slow
def test_a_device_downloads_the_vector_over_a_real_connection(serve, trusted, packed, tiny_bundle):
    url = serve(LocalExecutor())
    job = packed(url)
    states = []
    with HostClient(trusted(url)) as client:
        job = send(job, client, lambda _sent: None)
        result = fetch(job, client, lambda state: states.append(state["state"]))
        client.cancel(job.identity)
        assert client.job(job.identity)["state"] == "done"
    assert states[-1] == "done"
    assert result.vector.origin.base == tiny_bundle.weights_hash
    assert result.vector.origin.domain == "phone"
    assert result.vector.norm > 0
    assert len(result.losses) == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_jobs_run_as_tasks_of_a_ray_cluster(make_jobs, device, packed):
    ray = pytest.importorskip("ray")
    jobs = make_jobs(RayExecutor())
    try:
        identities = [queued(jobs, device, packed, domain=f"domain-{number}") for number in range(3)]
        jobs.start()
        assert [ended(jobs, identity).state for identity in identities] == ["done"] * 3
        jobs.stop()
    finally:
        ray.shutdown()


def test_a_full_disk_does_not_stop_the_host(make_jobs, monkeypatch):
    jobs = make_jobs()
    faults = [OSError(28, "No space left on device")]
    done = []
    monkeypatch.setattr(jobs_module, "RETRY_S", 0.1)

    def clean_up():
        if faults:
            raise faults.pop()
        done.append(1)
        return []

    monkeypatch.setattr(jobs._retention, "clean_up", clean_up)
    monkeypatch.setattr(jobs_module, "CLEAN_UP_S", 0.0)
    jobs.start()
    until(lambda: done)
    assert jobs.is_alive()


def test_the_same_content_gives_the_same_archive(training_set, tmp_path):
    assert pack(tmp_path / "a", training_set.training, ()) == pack(tmp_path / "b", training_set.training, ())
