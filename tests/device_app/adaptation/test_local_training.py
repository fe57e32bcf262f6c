"""Local fine-tuning: what it tells beforehand, and its checkpoints, which all models and domains have in one folder."""

import json
import os
import time
from types import SimpleNamespace

import pytest

from device_app.adaptation import local_training
from device_app.adaptation.local_training import Pace, expected_duration, expected_duration_text, training_run
from device_app.adaptation.training_set import TrainingSet
from device_app.adaptation_notes import KEPT_DAYS, TrainingRun, checkpoint_folder, interrupted_domains, version_mark
from device_app.data.utterance import StoredUtterance, Utterance
from device_app.models.bundles import embedded_bundle
from device_app.models.ledger import Ledger
from editing.task_vector import Origin


def origin(domain="codes", base="a" * 64, seconds=0.0):
    return Origin(family="moonshine", base=base, domain=domain, utterances=1, seconds=seconds)


def training_set(tmp_path, text="zero one", bake_inputs="base", **of_origin):
    utterance = Utterance(audio=tmp_path / "a.flac", text=text)
    return TrainingSet(SimpleNamespace(bake_inputs=[bake_inputs]), [utterance], [], origin(**of_origin))


def stored(number, duration_s):
    return StoredUtterance(
        audio=f"{number}.flac", split="train", number=number, sha256="", created="", duration_s=duration_s
    )


def interrupted(run, checkpoint=b"weights"):
    """A run that was killed after a checkpoint, while it wrote the next one."""
    run.begin()
    run.checkpoint.write_bytes(checkpoint)
    run.checkpoint.with_name(f".{run.checkpoint.name}.0123456789abcdef.tmp").write_bytes(checkpoint[:3])
    return run


def names():
    return {path.name for path in checkpoint_folder().glob("*")}


def test_a_checkpoint_is_specific_to_model_and_utterances(own_home, tmp_path):
    def checkpoint(**more):
        return training_run(training_set(tmp_path, **more)).checkpoint

    assert checkpoint() == checkpoint()
    assert len({checkpoint(), checkpoint(text="zero two"), checkpoint(bake_inputs="edited")}) == 3


def test_a_run_that_ends_leaves_no_file(own_home, tmp_path):
    run = interrupted(training_run(training_set(tmp_path)))
    run.begin()  # continues
    run.end()
    assert names() == set()
    run.end()  # with no file it does nothing


def test_a_run_that_ends_keeps_the_checkpoint_of_another_domain(own_home, tmp_path):
    anna = interrupted(training_run(training_set(tmp_path, domain="anna", text="hello")))
    ben = interrupted(training_run(training_set(tmp_path, domain="ben")))
    ben.begin()
    ben.end()
    assert anna.checkpoint.read_bytes() == b"weights"


def test_a_run_of_another_model_is_never_touched(own_home, tmp_path):
    """It may be active: the lock excludes only other runs of the same base model."""
    other = interrupted(training_run(training_set(tmp_path, bake_inputs="other", base="b" * 64)))
    before = {name for name in names() if other.name in name}
    run = interrupted(training_run(training_set(tmp_path)))
    run.end()
    assert names() == before


@pytest.mark.parametrize(
    "later", [{"text": "other words"}, {"domain": "ben", "bake_inputs": "edited"}], ids=["utterances", "version"]
)
def test_the_next_run_removes_what_cannot_be_continued(own_home, tmp_path, later):
    interrupted(training_run(training_set(tmp_path)))
    run = training_run(training_set(tmp_path, **later))
    run.begin()
    assert names() == {run.note.name}


def test_files_that_nothing_has_written_to_for_long_are_removed(own_home, tmp_path):
    """Such as those of a model that is no longer installed, and those of earlier versions, which have no note."""
    other = interrupted(training_run(training_set(tmp_path, bake_inputs="other", base="b" * 64)))
    (checkpoint_folder() / "0123456789abcdef.safetensors").write_bytes(b"weights")
    run = training_run(training_set(tmp_path))
    run.begin()
    assert len(names()) == 5
    long_ago = time.time() - (KEPT_DAYS + 1) * 24 * 3600
    for path in checkpoint_folder().glob("*"):
        os.utime(path, (long_ago, long_ago))
    os.utime(other.checkpoint)  # one of its files is recent
    run.begin()
    assert names() == {run.note.name, *(name for name in names() if other.name in name)}
    assert len(names()) == 4


def test_a_file_that_another_process_removes_first_is_no_error(own_home, tmp_path, monkeypatch):
    run = interrupted(training_run(training_set(tmp_path)))
    found = [(run.name, run.checkpoint), (run.name, checkpoint_folder() / "gone")]
    monkeypatch.setattr("device_app.adaptation_notes._files", lambda: found)
    run.end()
    assert not run.checkpoint.exists()


def test_interrupted_domains_are_those_that_the_active_version_can_continue(own_home):
    ledger = Ledger(embedded_bundle())
    here = ledger.base.weights_hash, version_mark(ledger.base)
    assert interrupted_domains(ledger) == []
    interrupted(TrainingRun("2" * 16, "ben", *here))
    interrupted(TrainingRun("1" * 16, "anna", *here))
    TrainingRun("3" * 16, "without a checkpoint", *here).begin()
    interrupted(TrainingRun("4" * 16, "other model", "b" * 64, here[1]))
    assert interrupted_domains(ledger) == ["anna", "ben"]
    with ledger.changing():
        assert interrupted_domains(ledger) == []  # one of them may be running
    interrupted(TrainingRun("5" * 16, "carla", here[0], "another version"))
    assert interrupted_domains(ledger) == []


@pytest.mark.parametrize(
    "note",
    [b"", b"[]", b'{"domain": 1}', b'"codes"', b"{" * 9000],
    ids=["empty", "a list", "other keys", "a text", "nested"],
)
def test_a_damaged_note_is_ignored(own_home, tmp_path, note):
    run = interrupted(training_run(training_set(tmp_path)))
    run.note.write_bytes(note)
    assert interrupted_domains(Ledger(embedded_bundle())) == []
    run.begin()
    assert json.loads(run.note.read_text("utf-8"))["domain"] == "codes"


@pytest.fixture
def idle_cores(own_home, monkeypatch):
    """Two cores with nothing else to do; returns a function that sets their load."""
    monkeypatch.setattr(local_training, "default_threads", lambda: 2)

    def load(programs):
        monkeypatch.setattr(os, "getloadavg", lambda: (programs, 0.0, 0.0))

    load(0.0)
    return load


def test_the_duration_counts_replayed_utterances_and_what_the_cores_do(idle_cores):
    known = embedded_bundle()
    fresh, replayed = [stored(1, 600.0)], [stored(2, 1400.0)]
    given = TrainingSet(known, [*fresh, *replayed], [], origin(base=known.weights_hash, seconds=600.0))
    more = "or more without a GPU, depending on what else this computer does"
    assert expected_duration_text(given, epochs=5) == f", about 10 minutes {more}"  # 0.12 * 2000 * 5 / 2 / 60
    idle_cores(4.0)
    assert expected_duration_text(given, epochs=5) == f", about 30 minutes {more}"
    few = TrainingSet(known, [stored(1, 10.0)], [], origin(base=known.weights_hash))
    assert expected_duration_text(few, epochs=5) == f", about a minute {more}"


def finetuned(monkeypatch, base, *, first=1, updates=40, update_s=6.0):
    """Notes a fine-tuning in which each update takes 6 seconds, and its first comes after 30 more."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace = Pace()
    now += 30
    for update in range(first, first + 20):
        now += update_s
        pace.note(update, updates)
    pace.keep(base, speech_s=400.0)


@pytest.mark.parametrize("base", [embedded_bundle().weights_hash, "a" * 64], ids=["embedded", "another model"])
def test_the_next_duration_is_that_of_the_last_fine_tuning_on_this_machine(idle_cores, monkeypatch, base):
    finetuned(monkeypatch, base)
    found = expected_duration(base, speech_s=200.0, epochs=5)  # 0.6 s for each second of speech, where 0.06 are ideal
    assert found.is_measured
    assert found.seconds == pytest.approx(30 + 600)
    assert found.slowdown == pytest.approx(10.0 if base == embedded_bundle().weights_hash else 1.0)
    finetuned(monkeypatch, base, first=30, update_s=3.0)  # it goes on at a checkpoint
    assert expected_duration(base, speech_s=200.0, epochs=5).seconds == pytest.approx(30 + 300)
    given = TrainingSet(embedded_bundle(), [stored(1, 200.0)], [], origin(base=base))
    assert expected_duration_text(given, epochs=5) == ", about 6 minutes at the speed of the last time"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"BASE": 1}', b'{"BASE": {"s_per_speech_s": -1}}', b"{" * 9000])
def test_a_damaged_file_of_speeds_is_ignored(idle_cores, own_home, content, monkeypatch):
    base = embedded_bundle().weights_hash
    path = own_home / "fine-tuning-speed.json"
    path.write_bytes(content.replace(b"BASE", base.encode()))
    assert not expected_duration(base, 200.0, 5).is_measured
    finetuned(monkeypatch, base)
    assert expected_duration(base, 200.0, 5).is_measured


def test_the_duration_of_a_model_that_was_not_measured_is_not_guessed(own_home):
    assert expected_duration_text(TrainingSet(embedded_bundle(), [stored(1, 600.0)], [], origin()), epochs=5) == ""
