"""Forgetting removes recordings, the edits that were trained on them, and every trace in the data folder."""

import json
from dataclasses import replace

import pytest

from device_app.adaptation.settings import AdaptationSettings
from device_app.backup.create import back_up
from device_app.backup.restore import prepared
from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.forgetting.forget import Selection, forget, plan
from device_app.models.bundles import embedded_bundle
from device_app.models.ledger import Edit, Ledger, edited
from device_app.remote.jobs import Job, jobs
from device_app.service.page.tasks.state import Task, TaskFiles
from editing.errors import BadInputError, StorageError
from editing.task_vector import Origin
from tests.data_folder import HOST, SETTINGS


@pytest.fixture(autouse=True)
def _no_jobs(filled_home):
    for job in jobs():
        job.delete()


def forgotten(**selection):
    with Store() as store:
        found = plan(store, Selection(**selection))
        forget(store, found)
    return found


def edits(found):
    return [edit.domain for of_model in found.edits.values() for edit in of_model]


def traces(folder, text):
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_a_domain_with_its_edit(filled_home):
    before = edited(embedded_bundle()).weights()
    vectors = sorted(Ledger(embedded_bundle()).files.vectors.glob("*"))
    found = forgotten(domain="kitchen")
    assert (len(found.recordings), edits(found)) == (3, ["kitchen"])
    ledger = Ledger(embedded_bundle())
    assert [(edit.id, edit.domain) for edit in ledger.edits] == [(1, "garden")]
    assert [applied.edit for applied in ledger.current.applied] == [1]
    assert len(sorted(ledger.files.vectors.glob("*"))) == len(vectors) - 1
    assert traces(filled_home, "kitchen") == []
    now = edited(embedded_bundle()).weights()
    assert any((now[name] != before[name]).any() for name in now)
    with Store() as store:
        assert store.domains() == ["garden"]


def test_the_guard_set_is_no_domain_to_forget(filled_home):
    with pytest.raises(BadInputError, match="'asr-edge guard remove' deletes recordings of it"):
        forgotten(domain=GUARD_SET)


@pytest.mark.parametrize("selection", [{"domain": "kitchen"}, {"everything": True}])
def test_the_plot_of_a_sweep_goes_too(filled_home, selection):
    """Its title is the name of the domain, and it would belong to another edit afterwards."""
    plot = Ledger(embedded_bundle()).folder / "frontier-1.png"
    plot.write_bytes(b"")
    forgotten(**selection)
    assert not plot.exists()


def test_a_speaker_names_the_edits_of_their_domains(filled_home):
    with Store() as store:
        found = plan(store, Selection(speaker="ben"))
    assert edits(found) == ["garden"]
    assert forgotten(speaker="ben").recordings == found.recordings
    assert [edit.domain for edit in Ledger(embedded_bundle()).edits] == ["kitchen"]


def test_a_later_edit_is_named_as_dependent(filled_home):
    with Store() as store:
        found = plan(store, Selection(domain="kitchen"))
    assert [edit.domain for of_model in found.dependent.values() for edit in of_model] == ["garden"]


def test_a_merge_of_the_vector_goes_too(filled_home):
    ledger = Ledger(embedded_bundle())
    with ledger.changing():
        vectors = [ledger.edit(1).vectors[0], ledger.edit(2).vectors[0]]
        edit = Edit(3, "merge", ["kitchen", "garden"], vectors, "ties", SETTINGS)
        ledger.promote(ledger.with_edit(edit, replaced=[1, 2]), edit)
    found = forgotten(domain="kitchen")
    assert edits(found) == ["kitchen", "kitchen + garden"]
    assert [edit.id for of_model in found.no_longer_used.values() for edit in of_model] == [2]
    ledger = Ledger(embedded_bundle())
    assert ([edit.domain for edit in ledger.edits], ledger.current.id) == (["garden"], 0)
    assert traces(filled_home, "kitchen") == []


def test_an_imported_edit_of_the_domain_stays_and_is_named(filled_home):
    ledger = Ledger(embedded_bundle())
    with ledger.changing():
        vectors = [ledger.edit(2).vectors[0]]  # another one than that of the domain
        ledger.reject(Edit(3, "import", ["kitchen"], vectors, "ties", SETTINGS))
    with Store() as store:
        found = plan(store, Selection(domain="kitchen"))
    assert edits(found) == ["kitchen"]
    assert "edit 3 (kitchen), imported from a file, but not in use" in found.untouched


def test_an_imported_edit_in_use_is_named_with_what_takes_it_out_of_use(filled_home):
    ledger = Ledger(embedded_bundle())
    with ledger.changing():
        edit = Edit(3, "import", ["kitchen"], [ledger.edit(2).vectors[0]], "ties", SETTINGS)
        ledger.promote(ledger.with_edit(edit), edit)
    with Store() as store:
        found = plan(store, Selection(domain="kitchen"))
    assert any("edit 3 (kitchen), imported from a file, and in use. 'asr-edge revert'" in x for x in found.untouched)


def test_an_imported_copy_of_the_own_vector_is_forgotten_although_it_was_trimmed(filled_home):
    ledger = Ledger(embedded_bundle())
    with ledger.changing():
        vector = ledger.vector(ledger.edit(1).vectors[0])
        made = replace(vector, origin=replace(vector.origin, utterances=3))
        digests = [ledger.store_vector(made), ledger.store_vector(made.trimmed(0.5))]
        ledger.reject(Edit(3, "adapt", ["kitchen"], digests[:1], "ties", SETTINGS))
        ledger.reject(Edit(4, "import", ["kitchen"], digests[1:], "ties", SETTINGS))
    assert edits(forgotten(domain="kitchen")) == ["kitchen", "kitchen", "kitchen"]
    assert traces(filled_home, "kitchen") == []


def test_everything(filled_home):
    found = forgotten(everything=True)
    assert (len(found.recordings), edits(found)) == (6, ["kitchen", "garden"])
    for text in ("kitchen", "garden", "anna", "Kubernetes"):
        assert traces(filled_home, text) == []
    assert list(filled_home.rglob("*.flac")) == list(filled_home.rglob("*.safetensors")) == []
    assert Ledger(embedded_bundle()).edits == []


def test_vectors_in_quarantine_and_what_is_derived_go_too(filled_home):
    ledger = Ledger(embedded_bundle())
    name = ledger.edit(1).vectors[0]
    ledger.files.quarantine.mkdir()
    (ledger.files.quarantine / f"{name}.x.safetensors").write_bytes(ledger.vector_path(name).read_bytes())
    for derived in ("baked/x", "training"):
        (filled_home / derived).mkdir(parents=True)
    (filled_home / "baked" / "x" / "encoder.onnx").touch()
    (filled_home / "training" / "c.safetensors").touch()
    forgotten(domain="kitchen")
    assert list(ledger.files.quarantine.iterdir()) == []
    assert not (filled_home / "baked" / "x").exists()
    assert list((filled_home / "training").iterdir()) == []


@pytest.mark.parametrize("selection", [{"everything": True}, {"domain": "kitchen"}, {"speaker": "anna"}])
def test_the_last_task_of_the_page_goes_too(filled_home, selection):
    """It names the domain that was learned, and its error rates."""
    files = TaskFiles()
    files.write(Task("learn", {"domain": "kitchen"}, "done", result={"domain": "kitchen"}))
    forgotten(**selection)
    assert traces(filled_home / "service", "kitchen") == []
    assert files.read() == Task()


def test_after_a_kill_the_same_command_finishes(filled_home, monkeypatch):
    monkeypatch.setattr(Store, "delete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        forgotten(domain="kitchen")
    monkeypatch.undo()
    monkeypatch.setenv("ASR_EDGE_HOME", str(filled_home))
    assert len(forgotten(domain="kitchen").recordings) == 3
    assert traces(filled_home, "kitchen") == []


def test_the_edit_of_a_domain_without_recordings(filled_home):
    with Store() as store:
        store.delete([one.number for one in store.utterances("kitchen")])
    assert edits(forgotten(domain="kitchen")) == ["kitchen"]


def test_a_short_name_is_not_found_inside_other_words(filled_home):
    ledger = Ledger(embedded_bundle())
    reason = "me is recognised worse: more than some tolerance"
    with ledger.changing():
        ledger.reject(Edit(3, "import", ["me"], ledger.edits[0].vectors, "ties", SETTINGS, reasons=[reason]))
    before = ledger.path.read_bytes()
    with Store() as store:
        numbers = [one.number for one in store.utterances("garden")]
        store.move(numbers[:1], "to")  # in "tolerance" of the reason, and in other words of the ledger
        store.move(numbers[1:2], "me")
    forgotten(domain="to")
    assert ledger.path.read_bytes() == before
    forgotten(domain="me")
    (hidden,) = (edit for edit in Ledger(embedded_bundle()).edits if edit.kind == "import")
    assert list(hidden.reasons) == ["a forgotten domain is recognised worse: more than some tolerance"]
    assert hidden.domains == ["a forgotten domain"]


def test_copies_elsewhere_are_named(filled_home, tmp_path):
    back_up(tmp_path / "b.tar")
    with prepared(tmp_path / "b.tar") as found:
        kept = found.put_in_place()
    with Store() as store:
        untouched = plan(store, Selection(domain="kitchen")).untouched
    assert str(kept) in untouched[0]
    assert "backups" in untouched[1]


def test_what_cannot_be_forgotten(filled_home):
    for wrong in ({}, {"everything": True, "domain": "kitchen"}):
        with pytest.raises(BadInputError, match="name one of"):
            Selection(**wrong)
    with Store() as store:
        with pytest.raises(BadInputError, match="no recordings and no edits of a domain 'attic'"):
            plan(store, Selection(domain="attic"))
        with pytest.raises(BadInputError, match="no speaker"):
            plan(store, Selection(speaker="carl"))
        path = Ledger(embedded_bundle()).path
        path.write_text(json.dumps({"format_version": 1}))
        with pytest.raises(StorageError, match=r"nothing was forgotten\. Run 'asr-edge doctor' first"):
            plan(store, Selection(domain="kitchen"))


def test_recordings_on_a_host_come_first(filled, filled_home):
    import shutil

    shutil.copytree(filled / "jobs", filled_home / "jobs", dirs_exist_ok=True)
    with Store() as store, pytest.raises(BadInputError, match="'asr-edge jobs cancel abababab' deletes them there"):
        plan(store, Selection(domain="kitchen"))


def a_job(domain, **options):
    """A job of this device on a host."""
    request = {"dataset": {"bytes": 7}, "edits": options.pop("edits", [])}
    job = Job(
        "cd" * 16, HOST, None, AdaptationSettings(domain, **options), request, Origin("moonshine", "0" * 64, domain)
    )
    job.folder.mkdir(parents=True)
    job.save()
    return job


@pytest.mark.parametrize("selection", [{"domain": "kitchen"}, {"speaker": "anna"}])
def test_a_job_of_another_domain_that_may_have_the_recordings_or_edits_is_refused(filled_home, selection):
    """Regression: the recordings of --replay, and the vectors of the edits it starts from, stayed there and here."""
    vectors = list(Ledger(embedded_bundle()).edit(1).vectors)
    for what, options in (
        ("recordings", {"replay": 7}),
        ("edits", {"edits": [{"vectors": vectors, "method": "ties", "settings": {}}]}),
    ):
        job = a_job("garden", **options)
        with Store() as store, pytest.raises(BadInputError, match=f"may have {what} that would be forgotten"):
            plan(store, Selection(**selection))
        job.delete()
    a_job("garden")
    assert edits(forgotten(**selection)) == ["kitchen"]


def test_held_out_recordings_of_a_speaker_may_be_on_a_host(filled_home, monkeypatch):
    """Regression: only the speaker's training recordings were looked for; --send-held-out sends the others too."""
    a_job("kitchen")
    get = Store.get
    monkeypatch.setattr(Store, "get", lambda store, number: replace(get(store, number), split="test"))
    with Store() as store, pytest.raises(BadInputError, match="may have recordings"):
        plan(store, Selection(speaker="anna"))


def test_the_archive_of_a_killed_adaptation_goes_too(filled_home):
    """Regression: without `job.json`, nothing ever removed the folder with the recordings."""
    archive = filled_home / "jobs" / ("ef" * 16) / "dataset.tar"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"recordings")
    job = a_job("garden")
    forgotten(domain="kitchen")
    assert not archive.parent.exists()
    assert jobs() == [job]
