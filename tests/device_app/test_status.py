"""status: where a user is, and what to do next."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from device_app.data.recordings import recording_of
from device_app.data.store import Store
from device_app.data.utterance import Utterance
from device_app.models.ledger import Edit
from device_app.status import DomainStatus, domain_option, domain_progress, first_progress, next_steps, unused
from tests.command_line import call


def domain(recordings, labelled, new, name="my-speech"):
    return DomainStatus(name, recordings, labelled, 60.0, new)


@pytest.mark.parametrize(
    ("domains", "command"),
    [
        ([], "asr-edge record"),
        ([domain(4, 4, 4)], "asr-edge record"),
        ([domain(12, 4, 4)], "asr-edge label"),
        ([domain(10, 10, 10)], "asr-edge adapt"),
        ([domain(60, 60, 3)], "asr-edge transcribe --save"),  # adapted, and too little is new
        ([domain(60, 60, 10)], "asr-edge adapt"),
        ([domain(4, 4, 4), domain(20, 20, 20, "my kitchen")], "asr-edge adapt --domain 'my kitchen'"),
    ],
)
def test_the_next_step_follows_from_the_recordings(domains, command):
    assert next_steps(domains)[0].command == command


def test_progress_counts_to_10_and_40():
    assert first_progress(0) == "0 of 10: 10 more until you can adapt"
    assert first_progress(10) == "10 of 40: you can adapt now; better from 40"
    assert first_progress(40) == "40: enough to learn well"


def test_after_an_adaptation_new_recordings_count():
    adapted = replace(domain(14, 14, 1), last_edit="active")
    assert domain_progress(domain(14, 14, 14)) == first_progress(14)
    assert domain_progress(adapted) == "1 new recording with text; adapt again from 10"
    assert domain_progress(replace(adapted, new=12)) == "12 new recordings with text: you can adapt again"
    assert [step.command for step in next_steps([adapted])] == ["asr-edge record", "asr-edge transcribe --save"]
    assert next_steps([replace(adapted, new=12)])[0].command == "asr-edge adapt"


def test_the_default_domain_needs_no_option():
    assert (domain_option("my-speech"), domain_option("a b")) == ("", " --domain 'a b'")


@pytest.mark.parametrize(
    ("labelled_at", "new"),
    [
        ([9] * 10, 0),
        ([9] * 10 + [10], 1),  # recorded while the adaptation ran: it is older than the edit, but was not used
        ([9] * 10 + [12], 1),
        ([9] * 4 + [12] * 3, 3),  # six were deleted since
    ],
)
def test_new_is_what_the_last_adaptation_did_not_use(labelled_at, new):
    edit = Edit(1, "adapt", ["a"], ["0" * 64], "ties", {"lam": 1.0}, "2026-01-01T11:00", utterances=7, held_out=3)
    labelled = [SimpleNamespace(created=f"2026-01-01T{hour:02}:00") for hour in labelled_at]
    assert unused(labelled, edit) == new
    assert unused(labelled, replace(edit, held_out=0)) == labelled_at.count(12)  # an edit of an older asr-edge


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("arguments", [(), ("status",)])
def test_a_new_user_is_told_what_to_do(empty_home, arguments):
    done = call(*arguments)
    assert "There are no recordings yet" in done.stdout
    assert "  asr-edge record " in done.stdout
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


def test_while_the_recordings_are_away_status_proposes_nothing_that_needs_them(empty_home):
    recording = recording_of(np.full(16000, 0.1, np.float32))
    with Store() as store:
        store.add([Utterance(domain="my-speech", text="hello", recording=recording)])
    assert "cannot be found" not in call("status").stdout
    (empty_home / "audio").rename(empty_home / "elsewhere")
    for _ in range(2):  # a disk that is not mounted leaves no folder, or an empty one
        done = call("status")
        where = empty_home / "audio"
        assert f"The recordings cannot be found: {where} is missing or empty. Is its disk mounted?" in done.stdout
        document = json.loads(call("status", "--json").stdout)
        assert [step["command"] for step in document["next"]] == ["asr-edge doctor"]
        assert document["missing_audio"] == str(where)
        where.mkdir(exist_ok=True)


def test_status_as_json(empty_home):
    document = json.loads(call("status", "--json").stdout)
    assert document["domains"] == []
    assert document["next"][0]["command"] == "asr-edge record"
