"""The folder of a job, shared by several processes."""

import fcntl
import hashlib
import threading

import pytest

from device_app.remote.archive import pack
from editing.errors import BadInputError
from trainer.host.job_folder import JobFolder


@pytest.fixture
def job(tmp_path):
    (tmp_path / "job").mkdir()
    return JobFolder(tmp_path / "job")


def test_the_unpacked_dataset_can_be_read_again(job, training_set, tmp_path):
    vector = tmp_path / f"{hashlib.sha256(b'v').hexdigest()}.safetensors"
    vector.write_bytes(b"v")
    pack(job.archive, training_set.training, training_set.held_out, [vector])
    (job.dataset / "audio").mkdir(parents=True)
    (job.dataset / "audio" / "rest").write_bytes(b"of a killed attempt")
    training = job.unpack()
    found = job.unpacked()
    assert (
        [one.text for one in found.training]
        == [one.text for one in training]
        == ["zero one", "two three four", "five six"]
    )
    assert [one.text for one in found.held_out] == ["seven"]
    assert all(one.audio.is_file() for one in (*found.training, *found.held_out))
    assert {name: path.read_bytes() for name, path in found.vectors.items()} == {vector.stem: b"v"}
    assert not (job.dataset / "audio" / "rest").exists()


def test_an_error_does_not_reveal_the_folder(job):
    job.write_error(BadInputError(f"{job.path}/dataset.tar: is damaged"))
    assert job.has_result()
    assert job.read_result() == {"error": "/dataset.tar: is damaged"}


@pytest.mark.parametrize("content", [None, "", "{"])
def test_unreadable_progress_and_result_are_none(job, content):
    for file in (job.progress_file, job.result_file):
        if content is not None:
            file.write_text(content)
    assert job.read_progress() is None
    assert job.read_result() is None


@pytest.mark.parametrize("keep_archive", [True, False])
def test_removing_recordings_keeps_the_vector(job, keep_archive):
    for file in (job.vector, job.archive, job.checkpoint, job.request_file, job.result_file):
        file.write_bytes(b"x")
    (job.dataset / "audio").mkdir(parents=True)
    (job.dataset / "audio" / "a.flac").write_bytes(b"x")
    job.remove_recordings(keep_archive=keep_archive)
    assert {*job.path.iterdir()} == ({job.vector, job.archive} if keep_archive else {job.vector})


def test_a_worker_waits_for_a_worker_of_an_older_version(job):
    done = threading.Event()

    def work():
        with job.locked():
            done.set()

    with (job.path / "lock").open("a") as older:
        fcntl.flock(older, fcntl.LOCK_EX)
        thread = threading.Thread(target=work)
        thread.start()
        assert not done.wait(0.3)
    assert done.wait(30)
    thread.join()
