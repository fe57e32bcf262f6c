"""A device with a dishonest, forgetful or unreachable host: wrong vectors are refused, correct ones are not lost."""

import contextlib
import hashlib
import json
import socket
import threading
import time
from dataclasses import replace

import pytest

from device_app.adaptation.settings import AdaptationSettings, MergeSettings
from device_app.execution import ExecutionContext
from device_app.models.ledger import Edit, Ledger
from device_app.remote.client import HostClient
from device_app.remote.jobs import find_job, jobs, kept_density, pack_job
from device_app.remote.tls import CERTIFICATE, CERTIFICATE_KEY
from device_app.remote.training import fetch, finish, send
from device_app.remote.trusted_hosts import Host
from editing.errors import BadInputError, NetworkError, StorageError, TrainingError, WrongBaseError
from editing.task_vector import TaskVector
from trainer.host.keys import make_keys
from trainer.host.limits import Limits


class FakeHost:
    """Answers like a host, except where a test changes its fields."""

    def __init__(self, keys, job, tensors, origin):
        self.host = Host("https://box", keys.public_key, keys.authority)
        self._keys = keys
        self.data = TaskVector(tensors, origin).to_bytes()
        self.record = {
            "kind": "task-vector",
            "job": "1" * 32,
            "base": job.request["base"],
            "edits": job.request["edits"],
            "dataset": job.request["dataset"]["sha256"],
            "settings": job.request["settings"],
            "vector": hashlib.sha256(self.data).hexdigest(),
        }
        self.state = "done"
        self.sign = keys.sign

    def create(self, _request):
        return {"id": "1" * 32}

    def upload(self, _identity, _path, on_sent):
        on_sent(1)
        return {"state": "queued"}

    def follow(self, _identity):
        statement, signature = self.sign(self.record)
        yield {"state": self.state, "error": "the loss is not finite", "statement": statement, "signature": signature}

    def task_vector(self, _identity, path):
        path.write_bytes(self.data)
        return hashlib.sha256(self.data).hexdigest()


@pytest.fixture
def job(packed):
    return packed("https://box")


@pytest.fixture
def fake_host(keys, job, training_set):
    weights = training_set.bundle.weights()
    return FakeHost(keys, job, {n: 0.01 * w for n, w in weights.items()}, replace(training_set.origin, domain="theirs"))


def send_and_fetch(job, client):
    return fetch(send(job, client, lambda _sent: None), client, lambda _state: None)


def test_an_honest_result_is_accepted_with_the_devices_own_origin(job, fake_host):
    result = send_and_fetch(job, fake_host)
    assert result.vector.origin == job.origin
    assert result.vector.norm > 0


def test_a_swapped_vector_is_refused_and_can_be_fetched_again(job, fake_host):
    honest, fake_host.data = fake_host.data, fake_host.data[:-1] + b"\0"
    with pytest.raises(BadInputError, match="another task vector than it signed"):
        send_and_fetch(job, fake_host)
    fake_host.data = honest
    assert send_and_fetch(find_job(job.key), fake_host).vector.norm > 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "fleet"),
        ("job", "2" * 32),
        ("base", "b" * 64),
        ("dataset", "d" * 64),
        ("settings", {"epochs": 1}),
        ("edits", [{"vectors": ["c" * 64], "method": "ties", "settings": {}}]),
    ],
)
def test_a_vector_signed_for_another_job_is_refused(job, fake_host, field, value):
    fake_host.record[field] = value
    with pytest.raises(BadInputError, match=f"to another request \\({field}"):
        send_and_fetch(job, fake_host)


def test_another_hosts_signature_is_refused(job, fake_host, tmp_path):
    fake_host.sign = make_keys(tmp_path / "other", ["box"]).sign
    with pytest.raises(BadInputError, match="not signed by the host that this device trusts"):
        send_and_fetch(job, fake_host)


def test_a_failed_job_raises_its_error_and_is_removed(job, fake_host):
    fake_host.state = "failed"
    with pytest.raises(TrainingError, match="the loss is not finite"):
        send_and_fetch(job, fake_host)
    assert jobs() == []


def test_a_job_is_stored_until_it_is_removed(job):
    (found,) = jobs()
    assert found == job
    assert find_job(job.key[:6]) == job
    with pytest.raises(BadInputError, match="there is no job"):
        find_job("zzz")
    job.delete()
    assert jobs() == []
    assert not job.folder.exists()


def test_a_second_job_for_a_domain_is_refused_with_the_remedy(job, packed):
    with pytest.raises(BadInputError, match=f"jobs attach {job.key[:8]}"):
        packed("https://box")
    assert packed("https://box", domain="other").key != job.key


def test_a_damaged_record_is_an_error(job):
    path = job.folder / "job.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(StorageError, match=r"job\.json"):
        jobs()


def test_a_folder_without_a_record_is_not_a_job(job):
    (job.folder / "job.json").unlink()
    assert jobs() == []


def test_held_out_utterances_are_sent_only_on_request(training_set, host_home):
    alone = pack_job(training_set, AdaptationSettings("a"), "https://box", None, {})
    both = pack_job(training_set, AdaptationSettings("b"), "https://box", None, {}, send_held_out=True)
    contents = [(job.folder / "dataset.tar").read_bytes() for job in (alone, both)]
    assert [b"seven" in content for content in contents] == [False, True]
    assert all(b"zero one" in content for content in contents)
    for job in (alone, both):
        assert "phone" not in json.dumps(job.request)  # not even the domain's name


@pytest.mark.parametrize(
    ("settings", "density"),
    [
        (AdaptationSettings("a"), 0.5),
        (AdaptationSettings("a", MergeSettings(settings={"density": 0.2})), 0.2),
        (AdaptationSettings("a", MergeSettings(settings={"scope": "global"})), 1.0),
        (AdaptationSettings("a", sweep=True), 1.0),
        (AdaptationSettings("a", MergeSettings("task_arithmetic")), 1.0),
        (AdaptationSettings("a", MergeSettings("dare_linear")), 1.0),
    ],
)
def test_the_requested_density_is_the_one_that_the_merge_keeps(settings, density):
    assert kept_density(settings) == density


def test_a_vector_that_is_already_an_edit_is_not_added_again(job, fake_host, tiny_bundle):
    result = send_and_fetch(job, fake_host)
    ledger = Ledger(tiny_bundle)
    with ledger.changing():
        edit = Edit(1, "adapt", ["phone"], [ledger.store_vector(result.vector)], "ties", {"lam": 0.6, "density": 0.5})
        ledger.promote(ledger.with_edit(edit), edit)
    assert finish(None, Ledger(tiny_bundle), job, result, None, ExecutionContext(threads=1)) is None
    assert len(Ledger(tiny_bundle).edits) == 1
    assert jobs() == []


def test_a_vector_for_another_base_is_refused_and_the_job_kept(job, fake_host, bundle):
    result = send_and_fetch(job, fake_host)
    with pytest.raises(WrongBaseError, match="https://box: taken from base"):
        finish(None, Ledger(bundle), job, result, None, ExecutionContext(threads=1))
    assert [one.key for one in jobs()] == [job.key]


def test_an_unreachable_host_is_an_error_with_the_remedy(job):
    with (
        HostClient(Host("http://127.0.0.1:1", "key"), retry_s=0.5) as client,
        pytest.raises(NetworkError, match="jobs attach"),
    ):
        send(job, client, lambda _sent: None)
    assert jobs() == [job]


def test_another_hosts_certificate_is_refused(serve, trusted, job, host_home, tmp_path):
    folder = host_home / "host"
    url = serve(ssl_certfile=str(folder / CERTIFICATE), ssl_keyfile=str(folder / CERTIFICATE_KEY))
    other = make_keys(tmp_path / "other", ["127.0.0.1"])
    with HostClient(trusted(url)) as client:
        assert client.jobs() == []
    with (
        HostClient(replace(trusted(url, "tablet"), authority=other.authority)) as client,
        pytest.raises(BadInputError, match="not signed by the authority that this device trusts"),
    ):
        send(job, client, lambda _sent: None)


@pytest.fixture
def short_pauses(monkeypatch):
    """The client waits a tenth of the time it is asked to."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds / 10))


@pytest.mark.usefixtures("short_pauses")
def test_a_request_is_retried_after_retry_after(serve, trusted, job, database):
    """The host allows one job per device; the device waits until that job has ended."""
    host = trusted(serve(limits=Limits(jobs_of_device=1)))
    with HostClient(host) as client, HostClient(host) as other:
        first = client.create({**job.request, "key": "1" * 32})["id"]
        threading.Timer(0.1, lambda: other.cancel(first)).start()
        assert send(job, client, lambda _sent: None).identity
    assert [one.state for one in database.jobs()] == ["cancelled", "queued"]


@pytest.mark.usefixtures("short_pauses")
def test_a_broken_connection_is_restored(serve, trusted, job, database):
    """A proxy cuts each of the first connections after a few kilobytes of the upload."""
    url = serve()
    host = trusted(url)
    with _CuttingProxy(int(url.rsplit(":", 1)[1]), cuts=3, after=3000) as port:
        messages = []
        with HostClient(replace(host, url=f"http://127.0.0.1:{port}"), messages.append) as client:
            sent = send(job, client, lambda _sent: None)
    assert [(one.id, one.state) for one in database.jobs()] == [(sent.identity, "queued")]
    assert any("answers again" in message for message in messages)


class _CuttingProxy:
    def __init__(self, target, cuts, after):
        self._target, self._cuts, self._after = target, cuts, after
        self._listening = socket.create_server(("127.0.0.1", 0))

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self._listening.getsockname()[1]

    def __exit__(self, *_exception):
        self._listening.close()

    def _serve(self):
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._pump, args=(server, client, None), daemon=True).start()
            threading.Thread(target=self._pump, args=(client, server, self._after), daemon=True).start()

    def _pump(self, source, target, after):
        passed = 0
        try:
            while data := source.recv(1024):
                target.sendall(data)
                passed += len(data)
                if after is not None and passed > after and self._cuts > 0:
                    self._cuts -= 1
                    break
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
