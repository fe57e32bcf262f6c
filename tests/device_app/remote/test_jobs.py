"""The format of `job.json`, which does not depend on the names of the settings in code."""

import json

import pytest

from device_app.adaptation.settings import AdaptationSettings, GatePolicy, MergeSettings
from device_app.remote.jobs import Job, find_job, jobs
from editing.errors import StorageError
from editing.json_text import read_json
from editing.task_vector import Origin

PLAN = {
    "domain": "codes",
    "method": "ties",
    "settings": {"lam": 0.3},
    "sweep": True,
    "tolerance": 0.02,
    "orthography": "learn",
    "replay": 7,
    "force": True,
    "dry_run": True,
    "seed": 5,
    "gains": False,
}
SETTINGS = AdaptationSettings(
    "codes",
    MergeSettings("ties", {"lam": 0.3}),
    GatePolicy(0.02, force=True, dry_run=True, requires_gain=False),
    sweep=True,
    orthography="learn",
    replay=7,
    seed=5,
)


@pytest.fixture
def job(own_home):
    made = Job("a1b2", "https://box", None, SETTINGS, {"dataset": {"bytes": 1}}, Origin("moonshine", "0" * 64, "codes"))
    made.folder.mkdir(parents=True)
    made.save()
    return made


def test_the_settings_of_the_adaptation_are_stored_as_one_flat_record(job):
    record = json.loads((job.folder / "job.json").read_text("utf-8"))
    assert list(record) == ["key", "url", "model", "plan", "request", "origin", "created", "identity"]
    assert record["plan"] == PLAN
    assert list(record["plan"]) == list(PLAN)


def test_a_saved_job_is_read_back(job):
    assert jobs() == [job]


def test_a_plan_with_only_a_domain_has_the_defaults(job):
    path = job.folder / "job.json"
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**record, "plan": {"domain": "codes"}}), "utf-8")
    assert find_job("a1").settings == AdaptationSettings("codes")


@pytest.mark.parametrize("plan", [{}, {"domain": "codes", "unknown": 1}, [], None])
def test_a_damaged_plan_is_named(job, plan):
    path = job.folder / "job.json"
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**record, "plan": plan}), "utf-8")
    with pytest.raises(StorageError, match=r"job\.json: is damaged"):
        jobs()


@pytest.mark.parametrize("field", ["url", "created", "identity"])
def test_a_field_that_is_not_a_text_is_named(job, field):
    path = job.folder / "job.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), field: 1}), "utf-8")
    with pytest.raises(StorageError, match=r"job\.json: is damaged .* is not a text"):
        jobs()


def test_a_job_that_cannot_be_read_is_not_called_damaged(job):
    """The remedy of a damaged one is to remove its folder, with the result of the host."""
    path = job.folder / "job.json"
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match=r"job\.json: cannot be read"):
        jobs()


def test_a_job_that_another_process_removes_meanwhile_is_left_out(job, monkeypatch):
    def removing(path):
        path.unlink()
        return read_json(path)

    monkeypatch.setattr("device_app.remote.jobs.read_json", removing)
    assert jobs() == []
