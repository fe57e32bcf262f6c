"""A device and a host that lies, forgets, or goes away: nothing wrong is ever merged, nothing right is lost."""

import contextlib
import hashlib
import json
import socket
import threading
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


class LyingHost:
    """Answers as a host would, except where a test changes it. It stands for a machine that is not ours."""

    def __init__(self, keys, job, tensors, origin):
        self.host = Host("https://box", keys.key, keys.authority)
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
        yield {"state": self.state, "error": "it was too hard", "statement": statement, "signature": signature}

    def task_vector(self, _identity, path):
        path.write_bytes(self.data)
        return hashlib.sha256(self.data).hexdigest()


@pytest.fixture
def job(packed):
    return packed("https://box")


@pytest.fixture
def liar(keys, job, training_set):
    weights = training_set.bundle.weights()
    return LyingHost(
        keys, job, {n: 0.01 * w for n, w in weights.items()}, replace(training_set.origin, domain="theirs")
    )


def ask(job, client):
    return fetch(send(job, client, lambda _sent: None), client, lambda _state: None)


def test_an_honest_answer_is_taken_and_is_called_what_we_call_it(job, liar):
    learnt = ask(job, liar)
    assert learnt.vector.origin == job.origin
    assert learnt.vector.norm > 0


def test_a_swapped_vector_is_refused_and_asked_for_again(job, liar):
    honest, liar.data = liar.data, liar.data[:-1] + b"\0"
    with pytest.raises(BadInputError, match="another task vector than it signed"):
        ask(job, liar)
    liar.data = honest
    assert ask(find_job(job.key), liar).vector.norm > 0


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
def test_a_vector_that_was_signed_for_something_else_is_refused(job, liar, field, value):
    liar.record[field] = value
    with pytest.raises(BadInputError, match=f"to another request \\({field}"):
        ask(job, liar)


def test_another_hosts_signature_is_refused(job, liar, tmp_path):
    liar.sign = make_keys(tmp_path / "other", ["box"]).sign
    with pytest.raises(BadInputError, match="not signed by the host that this device trusts"):
        ask(job, liar)


def test_a_job_that_failed_says_why_and_is_over(job, liar):
    liar.state = "failed"
    with pytest.raises(TrainingError, match="it was too hard"):
        ask(job, liar)
    assert jobs() == []


def test_a_job_is_remembered_until_it_is_forgotten(job):
    (found,) = jobs()
    assert found == job
    assert find_job(job.key[:6]) == job
    with pytest.raises(BadInputError, match="there is no job"):
        find_job("zzz")
    job.delete()
    assert jobs() == []
    assert not job.folder.exists()


def test_a_second_job_for_a_domain_is_refused_with_what_to_do(job, packed):
    with pytest.raises(BadInputError, match=f"jobs attach {job.key[:8]}"):
        packed("https://box")
    assert packed("https://box", domain="other").key != job.key


def test_a_damaged_record_is_said(job):
    path = job.folder / "job.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(StorageError, match=r"job\.json"):
        jobs()


def test_what_a_kill_left_before_the_record_is_no_job(job):
    (job.folder / "job.json").unlink()
    assert jobs() == []


def test_held_out_utterances_stay_here_unless_asked_for(training_set, host_home):
    alone = pack_job(training_set, AdaptationSettings("a"), "https://box", None, {})
    both = pack_job(training_set, AdaptationSettings("b"), "https://box", None, {}, score_remotely=True)
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
def test_as_much_of_the_vector_is_asked_for_as_can_be_used(settings, density):
    assert kept_density(settings) == density


def test_a_vector_that_became_an_edit_before_a_kill_does_not_become_another(job, liar, tiny_bundle):
    learnt = ask(job, liar)
    ledger = Ledger(tiny_bundle)
    with ledger.changing():
        edit = Edit(1, "adapt", ["phone"], [ledger.store_vector(learnt.vector)], "ties", {"lam": 0.6, "density": 0.5})
        ledger.promote(ledger.with_edit(edit), edit)
    assert finish(None, Ledger(tiny_bundle), job, learnt, None, ExecutionContext(threads=1)) is None
    assert len(Ledger(tiny_bundle).edits) == 1
    assert jobs() == []


def test_a_vector_that_does_not_fit_is_refused_and_the_job_stays(job, liar, bundle):
    learnt = ask(job, liar)
    with pytest.raises(WrongBaseError, match="https://box: taken from base"):
        finish(None, Ledger(bundle), job, learnt, None, ExecutionContext(threads=1))
    assert [one.key for one in jobs()] == [job.key]


def test_a_host_that_does_not_answer_is_said_with_what_to_do(job):
    with (
        HostClient(Host("http://127.0.0.1:1", "key"), retry_s=0.5) as client,
        pytest.raises(NetworkError, match="jobs attach"),
    ):
        send(job, client, lambda _sent: None)
    assert jobs() == [job]


def test_another_hosts_certificate_is_refused_at_once(serve, trusted, job, host_home, tmp_path):
    folder = host_home / "host"
    url = serve(ssl_certfile=str(folder / CERTIFICATE), ssl_keyfile=str(folder / CERTIFICATE_KEY))
    other = make_keys(tmp_path / "other", ["127.0.0.1"])
    with HostClient(trusted(url)) as client:
        assert client.jobs() == []
    with (
        HostClient(replace(trusted(url, "tablet"), authority=other.authority)) as client,
        pytest.raises(BadInputError, match="not of the authority this device trusts"),
    ):
        send(job, client, lambda _sent: None)


def test_a_host_that_says_later_is_asked_again(serve, trusted, job, database):
    """A device may have one job here; it waits until that has ended."""
    host = trusted(serve(limits=Limits(jobs_of_device=1)))
    with HostClient(host) as client, HostClient(host) as other:
        first = client.create({**job.request, "key": "1" * 32})["id"]
        threading.Timer(1.0, lambda: other.cancel(first)).start()
        assert send(job, client, lambda _sent: None).identity
    assert [one.state for one in database.jobs()] == ["cancelled", "queued"]


def test_a_connection_that_breaks_is_made_again(serve, trusted, job, database):
    """A proxy cuts each of the first connections after a few kilobytes of the upload."""
    url = serve()
    host = trusted(url)
    with _Cutting(int(url.rsplit(":", 1)[1]), cuts=3, after=3000) as port:
        said = []
        with HostClient(replace(host, url=f"http://127.0.0.1:{port}"), said.append) as client:
            sent = send(job, client, lambda _sent: None)
    assert [(one.id, one.state) for one in database.jobs()] == [(sent.identity, "queued")]
    assert any("answers again" in message for message in said)


class _Cutting:
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
