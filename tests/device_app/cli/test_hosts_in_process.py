"""adapt --on, jobs, contribute and fleet pull, against a real host on loopback in a thread of the tests."""

import contextlib
import json
import threading
from dataclasses import replace

import pytest

from device_app.models.bundles import find_bundle
from device_app.models.ledger import Ledger
from device_app.remote.jobs import jobs as jobs_here
from device_app.remote.trusted_hosts import Host, find_host, save_host
from editing.task_vector import TaskVector
from tests.conftest import until
from tests.device_app.cli.conftest import call
from tests.trainer.host.conftest import running
from trainer.executors import LocalExecutor

ADAPT = ("adapt", "--domain", "codes", "--model", "tiny", "--lambda", "1", "--density", "1")


class InThread(LocalExecutor):
    """Runs jobs in a thread, because a new process would have to import torch."""

    def start(self, task):
        thread = threading.Thread(target=task.function, args=task.arguments, daemon=True)
        thread.start()

        class RunningTask:
            def has_finished(self):
                return not thread.is_alive()

            def cancel(self):
                thread.join(30)

        return RunningTask()


class Idle(LocalExecutor):
    """Starts nothing: jobs stay in the queue."""

    slots = 0


class Served:
    """A running host: its URL, database and folder."""

    def __init__(self, stack, home, executor):
        import uvicorn

        from device_app.service.http.connections import Connections, listen
        from trainer.host.api import make_api
        from trainer.host.auth import HostState
        from trainer.host.database import Database
        from trainer.host.jobs import Jobs
        from trainer.host.keys import make_keys
        from trainer.host.limits import Limits

        self.folder = home / "host"
        self.keys = make_keys(self.folder, ["localhost", "127.0.0.1"])
        self.database = Database(self.folder / "host.sqlite")
        jobs = Jobs(self.folder, self.database, self.keys, executor, Limits())
        stack.callback(jobs.stop)
        config = uvicorn.Config(
            make_api(HostState(jobs, self.keys, self.folder, allows_anonymous=False)), log_level="warning"
        )
        self.url = stack.enter_context(running(config, listen("127.0.0.1", 0, Connections())))

    def trust(self, *, consent=True, token=None):
        save_host(
            Host(self.url, self.keys.public_key, None, token or self.database.add_device("phone", "crew"), consent)
        )


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:
        yield lambda home, executor=None: Served(stack, home, executor or InThread())


def ledger():
    return Ledger(find_bundle("tiny"))


def test_a_host_fine_tunes_and_the_device_runs_the_gate(home_of_tiny, serve, teacher):
    host = serve(home_of_tiny)
    host.trust()
    done = call(*ADAPT, "--epochs", "2", "--on", host.url)
    assert "The new version is active, with edit 1;" in done.stdout
    assert "with texts" in done.stderr
    assert "On the host: done" in done.stderr
    assert ledger().current.id == 1
    assert jobs_here() == []
    assert (teacher.asked[0].epochs, teacher.asked[0].scope) == (2, "encoder")
    assert teacher.training_sets[0].held_out == []
    until(lambda: [job.state for job in host.database.jobs()] == ["done"])


def test_recordings_are_sent_to_a_host_only_with_consent(home_of_tiny, serve, teacher):
    host = serve(home_of_tiny)
    host.trust(consent=False)
    done = call(*ADAPT, "--on", host.url, stdin=b"n\n", code=1)
    assert "Do you agree?" in done.stderr
    assert (jobs_here(), host.database.jobs()) == ([], [])
    assert not find_host(host.url).consent
    done = call(*ADAPT, "--on", host.url, "--send-held-out", "--yes", "--json")
    assert json.loads(done.stdout)["promoted"]
    assert find_host(host.url).consent
    assert len(teacher.training_sets[0].held_out) >= 3


def test_a_job_is_listed_attached_and_merged_later(home_of_tiny, serve, teacher, monkeypatch):
    from device_app.remote import training as remote

    host = serve(home_of_tiny)
    host.trust()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "fetch", _interrupted)
        call(*ADAPT, "--on", host.url, code=130)
    (job,) = jobs_here()
    until(lambda: host.database.jobs()[0].state == "done")
    (row,) = json.loads(call("jobs", "--json").stdout)
    assert {"place", "progress", "error"} <= row.keys()
    assert (row["id"], row["host"], row["domain"], row["state"]) == (job.key, host.url, "codes", "done")
    head, line = call("jobs").stdout.splitlines()
    assert head.split() == ["job", "domain", "host", "created", "state"]
    assert line.split()[0] == job.key[:8]
    assert line.endswith("done")
    assert "jobs attach" in call(*ADAPT, "--on", host.url, code=1).stderr
    done = call("jobs", "attach", job.key[:8])
    assert "The new version is active, with edit 1;" in done.stdout
    assert jobs_here() == []
    assert ledger().edits[0].domains == ["codes"]


def _interrupted(*_arguments):
    raise KeyboardInterrupt


def test_a_job_is_not_merged_twice(home_of_tiny, serve, teacher):
    from device_app.remote import training as remote

    host = serve(home_of_tiny)
    host.trust()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote.Job, "delete", lambda _self: None)
        call(*ADAPT, "--on", host.url)
    (job,) = jobs_here()
    found = host.database.jobs()[0]
    assert found.state == "done"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "fetch", lambda *_arguments: _learnt(job))
        done = call("jobs", "attach", job.key[:6])
    assert "the task vector of this job for codes is merged already; 'asr-edge log' shows the edit." in done.stderr
    assert len(ledger().edits) == 1


def _learnt(job):
    from device_app.adaptation.training_set import FineTuningResult

    return FineTuningResult(replace(TaskVector.load(job.folder / "vector.safetensors"), origin=job.origin), [1.0], 1.0)


def test_a_queued_job_is_cancelled_here_and_there(home_of_tiny, serve, teacher):
    from device_app.remote import training as remote

    host = serve(home_of_tiny, Idle())
    host.trust()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "fetch", _interrupted)
        call(*ADAPT, "--on", host.url, code=130)
    (job,) = jobs_here()
    assert "queued" in call("jobs").stdout
    done = call("jobs", "cancel", job.key[:8])
    assert done.stderr == f"Job {job.key[:8]} is cancelled.\n"
    assert jobs_here() == []
    assert [one.state for one in host.database.jobs()] == ["cancelled"]
    assert "There are no jobs." in call("jobs").stdout


def test_a_job_of_a_host_that_is_not_trusted_is_unknown(home_of_tiny, serve, teacher):
    from device_app.remote import training as remote
    from device_app.remote.trusted_hosts import remove_host

    host = serve(home_of_tiny, Idle())
    host.trust()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "send", _interrupted)
        call(*ADAPT, "--on", host.url, code=130)
    assert json.loads(call("jobs", "--json").stdout)[0]["state"] == "not sent yet"
    (job,) = jobs_here()
    replace(job, identity="1" * 32).save()
    remove_host(host.url)
    (row,) = json.loads(call("jobs", "--json").stdout)
    assert row["state"] == "unknown"
    assert "not trusted yet" in row["error"]
    assert "unknown (" in call("jobs").stdout


def test_the_state_of_a_job_is_described():
    from device_app.remote.training import _following, _from_total, describe

    assert describe({"state": "queued", "place": 2}) == "queued, 2 before it"
    at = {"step": 3.0, "steps": 10.0, "left_s": 120.0, "epoch": 1, "loss": 0.5}
    assert describe({"state": "running", "progress": at}) == "running, step 3 of 10, 2 min left"
    assert describe({"state": "failed", "error": "why"}) == "failed (why)"
    shown, sent = [], []
    said = []
    _following(lambda *figures: shown.append(figures), said.append)({"state": "running", "progress": at})
    assert (shown, said) == ([(3, 10, 1, 0.5)], ["On the host: running"])
    told = _from_total(sent.append)
    told(10)
    told(25)
    assert sent == [10, 15]


def test_an_edit_is_contributed_without_its_domains_name(home_adapted, serve):
    host = serve(home_adapted)
    host.trust()
    done = call("contribute", 1, "--group", "crew", "--on", host.url, "--model", "tiny", "--density", "0.2")
    assert "Edit 1 is sent to crew: " in done.stderr
    assert len(host.database.contributions("crew", ledger().base.weights_hash)) == 1
    (file,) = (host.folder / "fleet").glob("*.safetensors")
    origin = TaskVector.load(file).origin
    assert (origin.domain, origin.method, origin.density) == ("", "trim", 0.2)
    assert origin.scores.keys() == {"before", "after", "general_speech_before", "general_speech_after"}


def test_only_edits_that_were_fine_tuned_here_are_contributed(home_adapted, serve, tmp_path):
    host = serve(home_adapted)
    host.trust()
    call("vector", "export", 1, tmp_path / "v.safetensors", "--model", "tiny")
    take = ("vector", "import", tmp_path / "v.safetensors", "--lambda", "0", "--force", "--model", "tiny")
    call(*take)
    give = ("contribute", 2, "--group", "crew", "--on", host.url, "--model", "tiny")
    assert "is not an adaptation of this device" in call(*give, code=1).stderr


@pytest.fixture
def offered(home_adapted, serve):
    """A host that offers the edit's vector to the group "crew", signed."""
    from trainer.host.contributions import vector_file

    host = serve(home_adapted)
    host.trust()
    found = ledger()
    (name,) = found.edit(1).vectors
    (host.folder / "fleet").mkdir(exist_ok=True)
    path = vector_file(host.folder, name)
    path.write_bytes(found.vector_path(name).read_bytes())
    base = found.base.weights_hash

    def offer(vector=name):
        record = {"kind": "fleet", "group": "crew", "base": base, "vector": vector}
        host.database.offer("crew", base, name, *host.keys.sign(record), "{}")
        return host

    return offer


PULL = ("fleet", "pull", "--group", "crew", "--model", "tiny")


def test_the_vector_of_a_group_replaces_the_earlier_one(offered, spelled):
    host = offered()
    call("revert", 1, "--model", "tiny")
    call(*PULL, "--on", host.url, "--lambda", "1", "--dry-run")
    assert len(ledger().edits) == 1
    assert "The new version is active, with edit" in call(*PULL, "--on", host.url, "--lambda", "1").stdout
    edit = ledger().edits[1]
    assert (edit.kind, edit.domains, edit.method, edit.settings["lam"]) == ("fleet", ["crew"], "task_arithmetic", 1.0)
    again = call(*PULL, "--on", host.url, "--json")
    assert json.loads(again.stdout)["edit"]["settings"]["lam"] == 0.6
    assert "crew has no recordings any more" not in again.stderr  # a group never had any on this device
    assert [one.edit for one in ledger().current.applied] == [3]


def test_a_vector_that_does_not_match_its_signature_is_refused(offered):
    host = offered(vector="0" * 64)
    done = call(*PULL, "--on", host.url, code=1)
    assert "sent another task vector than it signed; nothing was merged" in done.stderr
    assert len(ledger().edits) == 1


def test_a_group_without_a_vector_is_an_error(home_adapted, serve):
    host = serve(home_adapted)
    host.trust()
    assert "no vector for that base yet" in call(*PULL, "--on", host.url, code=1).stderr
    assert "not trusted yet" in call(*PULL, "--on", "https://box", code=1).stderr
