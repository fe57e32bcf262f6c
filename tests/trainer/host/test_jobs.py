"""Jobs done by real workers, in processes of their own: each ends once, with one vector, whatever dies."""

import hashlib
import os
import signal

import numpy as np
import pytest

from device_app.recognition.onnx_session import default_threads
from device_app.remote.archive import pack
from device_app.remote.client import HostClient
from device_app.remote.jobs import ARCHIVE
from device_app.remote.signatures import verify_document
from device_app.remote.training import fetch, send
from editing.sparsify import trim
from editing.task_vector import TaskVector
from tests.conftest import until
from trainer.executors import Local, Ray
from trainer.host import jobs as jobs_module
from trainer.host.limits import Limits
from trainer.host.worker import work
from trainer.training import loop
from trainer.training.finetuning import finetune_for_training_set
from trainer.training.settings import FineTuningSettings


class Watched(Local):
    """The real engine, with the processes it started at hand."""

    def __init__(self):
        self.processes = []

    def start(self, task):
        running = super().start(task)
        self.processes.append(running._process)
        return running


def queued(jobs, device, packed, **settings):
    """A job whose dataset has come in."""
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


def test_a_job_gives_the_vector_of_local_training_signed_and_keeps_no_recording(
    make_jobs, device, packed, training_set, keys, monkeypatch
):
    jobs = make_jobs(Local())
    identity = queued(jobs, device, packed)
    jobs.start()
    job = ended(jobs, identity)
    assert job.state == "done", job.error
    monkeypatch.setattr(loop, "default_threads", default_threads)  # as in the process of the worker
    local = finetune_for_training_set(training_set, FineTuningSettings(epochs=2, seed=3)).vector
    path = jobs.vector(job)
    found = TaskVector.load(path).tensors
    for name, tensor in local.tensors.items():
        np.testing.assert_allclose(found[name], trim(tensor, 0.5), atol=1e-5)
    assert any(np.any(tensor) for tensor in found.values())
    record = verify_document(job.statement, job.signature, keys.key)
    assert record["vector"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["dataset"] == job.request["dataset"]["sha256"]
    assert [file.name for file in jobs.folder(job).iterdir()] == ["vector.safetensors"]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_started_again_and_there_is_one_vector(make_jobs, device, packed):
    engine = Watched()
    jobs = make_jobs(engine)
    identity = queued(jobs, device, packed, epochs=30)
    jobs.start()
    job = jobs.database.job(identity)
    until(lambda: jobs.progress(job) is not None)
    os.kill(engine.processes[0].pid, signal.SIGKILL)
    job = ended(jobs, identity)
    assert job.state == "done", job.error
    assert (len(engine.processes), job.attempts) == (2, 1)


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_is_given_up(make_jobs, device, packed):
    engine = Watched()
    jobs = make_jobs(engine, Limits(attempts=2))
    identity = queued(jobs, device, packed, epochs=100)
    jobs.start()
    for number in range(2):
        process = until(lambda number=number: engine.processes[number : number + 1])[0]
        os.kill(process.pid, signal.SIGKILL)
    job = ended(jobs, identity)
    assert job.state == "failed"
    assert "died" in job.error


@pytest.mark.slow
def test_a_host_that_is_started_again_goes_on(make_jobs, device, packed):
    first = make_jobs(Watched())
    identity = queued(first, device, packed, epochs=30)
    first.start()
    until(lambda: first.progress(first.database.job(identity)) is not None)
    first.stop()
    assert first.database.job(identity).state == "running"
    second = make_jobs(Local())
    second.start()
    assert ended(second, identity).state == "done"


@pytest.mark.slow
def test_a_result_that_was_not_noted_before_a_kill_is_noted_and_not_made_again(make_jobs, device, packed, monkeypatch):
    jobs = make_jobs(Local())
    identity = queued(jobs, device, packed)
    monkeypatch.setattr(jobs, "_end", lambda _job: None)  # the host dies before it notes what the worker left
    jobs.start()
    until((jobs.folder(jobs.database.job(identity)) / "result.json").is_file)
    jobs.stop()
    engine = Watched()
    again = make_jobs(engine)
    again.update()
    assert again.database.job(identity).state == "done"
    assert not engine.processes


@pytest.mark.slow
def test_a_cancelled_job_stops_its_worker(make_jobs, device, packed):
    engine = Watched()
    jobs = make_jobs(engine)
    identity = queued(jobs, device, packed, epochs=200)
    jobs.start()
    process = until(lambda: engine.processes)[0]
    until(process.is_alive)
    jobs.cancel(jobs.database.job(identity))
    until(lambda: not process.is_alive())
    assert jobs.database.job(identity).state == "cancelled"


@pytest.mark.slow
def test_a_job_that_takes_too_long_is_ended(make_jobs, device, packed):
    jobs = make_jobs(Local(), Limits(training_s=0.5))
    identity = queued(jobs, device, packed, epochs=200)
    jobs.start()
    job = ended(jobs, identity)
    assert (job.state, "longer than" in job.error) == ("failed", True)


@pytest.mark.slow
def test_recordings_are_kept_only_where_the_host_was_told_to(make_jobs, device, packed):
    jobs = make_jobs(Local(), keep=True)
    identity = queued(jobs, device, packed)
    jobs.start()
    job = ended(jobs, identity)
    until(lambda: len(list(jobs.folder(job).iterdir())) == 2)
    assert jobs.archive(job).is_file()


def test_what_is_wrong_with_a_dataset_is_the_result(make_jobs, device, packed, training_set, tmp_path):
    jobs = make_jobs()
    training_set.training[0].file.write_bytes(b"fLaC but not really")
    identity = queued(jobs, device, packed)
    work(jobs.folder(jobs.database.job(identity)))  # in this process, as a worker would
    jobs.database.move(identity, ["queued"], "running")
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
    monkeypatch.setattr(jobs_module, "TIDY_S", 0.0)
    jobs.update()
    jobs.update()
    assert not stray.exists()
    assert jobs.database.job(added.id).state == "cancelled"  # an upload that was never finished


@pytest.mark.slow
def test_a_device_gets_the_vector_over_a_real_connection(serve, trusted, packed, tiny_bundle):
    url = serve(Local())
    job = packed(url)
    states = []
    with HostClient(trusted(url)) as client:
        job = send(job, client, lambda _sent: None)
        learnt = fetch(job, client, lambda state: states.append(state["state"]))
        client.cancel(job.identity)
        assert client.job(job.identity)["state"] == "done"
    assert states[-1] == "done"
    assert learnt.vector.origin.base == tiny_bundle.weights_hash
    assert learnt.vector.origin.domain == "phone"
    assert learnt.vector.norm > 0
    assert len(learnt.losses) == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_job_is_done_as_a_task_of_a_ray_cluster(make_jobs, device, packed):
    ray = pytest.importorskip("ray")
    jobs = make_jobs(Ray())
    try:
        identities = [queued(jobs, device, packed, domain=f"domain-{number}") for number in range(3)]
        jobs.start()
        assert [ended(jobs, identity).state for identity in identities] == ["done"] * 3
        jobs.stop()
    finally:
        ray.shutdown()


def test_a_fault_of_the_machine_does_not_end_the_host(make_jobs, monkeypatch):
    jobs = make_jobs()
    faults = [OSError(28, "No space left on device")]
    done = []
    monkeypatch.setattr(jobs_module, "RETRY_S", 0.1)
    monkeypatch.setattr(jobs, "_tidy", lambda: done.append(1) if not faults else (_ for _ in ()).throw(faults.pop()))
    monkeypatch.setattr(jobs_module, "TIDY_S", 0.0)
    jobs.start()
    until(lambda: done)
    assert jobs.is_alive()


def test_the_same_content_gives_the_same_archive(training_set, tmp_path):
    assert pack(tmp_path / "a", training_set.training, ()) == pack(tmp_path / "b", training_set.training, ())
