"""Findings about ledgers, task vectors and baked files, and what mending does and leaves alone."""

import os
import shutil
import time

import pytest

from device_app.models.baking import baked, baked_folder
from device_app.models.check import examine_models
from device_app.models.ledger import Edit, Ledger, edited
from editing.task_vector import TaskVector

SETTINGS = {"lam": 0.6, "density": 0.5}


@pytest.fixture
def learn(ledger, vector):
    def make(domain, seed=0):
        with ledger.changing():
            number = len(ledger.edits) + 1
            edit = Edit(number, "adapt", [domain], [ledger.keep(vector(domain, seed))], "ties", SETTINGS)
            ledger.promote(ledger.drafted(edit), edit)
        return edit.vectors[0]

    return make


def kinds(*, faults=True):
    return [one.kind for one in examine_models() if one.is_fault or not faults]


def mend():
    for one in examine_models():
        if one.mend is not None:
            one.mend()


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def old(folder):
    """As if it had been written an hour ago."""
    before = time.time() - 3600
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (before, before))


def test_what_is_whole_has_no_findings(ledger, learn, bundle):
    learn("a", 1)
    learn("b", 2)
    baked(edited(bundle))
    assert examine_models() == []


def test_nothing_at_all_has_no_findings(own_home):
    shutil.rmtree(own_home)
    assert examine_models() == []
    assert not own_home.exists()


def test_examining_changes_nothing(ledger, learn, own_home):
    learn("a", 1)
    learn("b", 2)
    ledger.path.write_bytes(b"rubbish")
    (ledger.files.vectors / "stray").write_bytes(b"x")
    (ledger.files.vectors / ".x.tmp").write_bytes(b"x")
    (own_home / "candidate-x").mkdir()
    before = files(own_home)
    assert len(examine_models()) >= 3
    after = files(own_home)
    assert {name: data for name, data in after.items() if not name.endswith(("in-use", "lock"))} == {
        name: data for name, data in before.items() if not name.endswith(("in-use", "lock"))
    }


def test_a_damaged_ledger_is_restored(ledger, learn, bundle):
    first, second = learn("a", 1), learn("b", 2)
    ledger.path.write_bytes(b"rubbish")
    (found,) = examine_models()
    assert (found.kind, found.is_fault) == ("damaged ledgers", True)
    assert found.line.startswith(f"{ledger.path}: ")
    assert "from before the last change takes its place" in found.remedy
    found.mend()
    assert [edit.domain for edit in Ledger(bundle).edits] == ["a"]
    assert ledger.vector_path(second).is_file()
    # The second edit is not in the restored ledger: its vector is found, put aside, and can be had again.
    assert kinds() == ["task vectors that no edit names"]
    mend()
    assert kinds() == []
    aside = {one.line.split(": ")[0] for one in examine_models()}
    assert str(ledger.files.find_in_quarantine(second)) in aside
    assert TaskVector.load(ledger.files.find_in_quarantine(second)).origin.domain == "b"
    assert ledger.vector_path(first).is_file()


def test_without_an_earlier_ledger_the_base_goes_on(ledger, learn, bundle):
    name = learn("a")
    ledger.path.write_bytes(b"rubbish")
    (found,) = examine_models()
    assert "take it from a backup; or else" in found.remedy
    found.mend()
    assert edited(bundle) is bundle
    assert kinds() == ["task vectors that no edit names"]
    assert ledger.vector_path(name).is_file()


def test_a_ledger_that_was_mended_in_the_meantime_is_left_alone(ledger, learn, bundle):
    learn("a", 1)
    learn("b", 2)
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(b"rubbish")
    (found,) = examine_models()
    ledger.path.write_bytes(whole)
    found.mend()
    assert ledger.path.read_bytes() == whole


def test_a_later_ledger_is_left_alone(ledger, learn):
    learn("a", 1)
    learn("b", 2)
    ledger.path.write_text('{"format_version": 2}')
    (found,) = examine_models()
    assert (found.kind, found.is_fault, found.mend) == ("ledgers of a later asr-edge", False, None)


def test_a_damaged_earlier_ledger_is_put_aside(ledger, learn):
    learn("a", 1)
    learn("b", 2)
    ledger.files.previous.write_bytes(b"")
    assert kinds() == ["earlier ledgers that could not take the place of a damaged one"]
    mend()
    assert kinds() == []
    assert not ledger.files.previous.exists()


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_vector_is_named_and_a_whole_copy_is_taken_back(ledger, learn, bundle, damage):
    name = learn("a")
    path = ledger.vector_path(name)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(whole[:-1] + b"x")
    (found,) = examine_models()
    assert (found.kind, found.mend) == ("missing or damaged task vectors of active edits", None)
    assert found.line.startswith(f"{path}: the task vector of edit 1 ")
    assert "asr-edge revert" in found.remedy
    ledger.files.quarantine.mkdir(exist_ok=True)
    (ledger.files.quarantine / path.name).write_bytes(whole)
    assert kinds() == ["task vectors of which there is a copy"]
    mend()
    assert kinds() == []
    assert path.read_bytes() == whole


def test_a_vector_that_does_not_fit_its_base_is_found(ledger, learn, vector, bundle):
    other = vector("b")
    smaller = TaskVector(dict(list(other.tensors.items())[1:]), other.origin)
    with ledger.changing():
        edit = Edit(1, "import", ["b"], [ledger.keep(smaller)], "ties", SETTINGS, reasons=["it does not fit"])
        ledger.reject(edit)
    (found,) = examine_models()
    assert found.kind == "missing or damaged task vectors of inactive edits"
    assert "cannot be merged (does not fit the model: " in found.line


def test_without_its_model_a_ledger_is_looked_at_all_the_same(ledger, learn, bundle, monkeypatch):
    name = learn("a")
    monkeypatch.setattr("device_app.models.bundles.EMBEDDED", bundle.folder / "none")
    assert kinds(faults=False) == ["ledgers without their model"]
    ledger.vector_path(name).write_bytes(b"rubbish")
    assert kinds() == ["missing or damaged task vectors of active edits"]


def test_half_written_files_are_removed_and_unnamed_vectors_put_aside(ledger, learn, vector):
    learn("a")
    half = ledger.files.vectors / f".{'ab' * 32}.safetensors.0123.tmp"
    half.write_bytes(b"half")
    stray = ledger.vector_path("cd" * 32)
    stray.write_bytes(vector("stray").to_bytes())
    found = {one.kind: one for one in examine_models()}
    assert found.keys() == {"half-written files of models", "task vectors that no edit names"}
    assert "stray, 0 utterances" in found["task vectors that no edit names"].line
    mend()
    assert not half.exists()
    assert [path.name for path in ledger.files.quarantine.iterdir()] == [stray.name]
    # What is in quarantine is listed, with how to get rid of it, and is no fault.
    (listed,) = examine_models()
    assert (listed.is_fault, listed.mend) == (False, None)
    assert "remove the files if you do not need them" in listed.remedy


@pytest.mark.parametrize("damage", ["record is missing", "record is damaged", "file is missing", "file is changed"])
def test_damaged_baked_files_are_removed_and_made_again(own_home, bundle, damage):
    folder = baked_folder(bundle)
    graph = next(folder.glob("*.onnx"))
    match damage:
        case "record is missing":
            (folder / "baked.json").unlink()
        case "record is damaged":
            (folder / "baked.json").write_text("[" * 100_000)
        case "file is missing":
            graph.unlink()
        case "file is changed":
            graph.write_bytes(b"rubbish")
    assert kinds() == []  # another process may be writing them now
    old(folder)
    assert kinds() == ["damaged baked files"]
    mend()
    assert not folder.exists()
    assert kinds() == []


def test_a_record_of_baked_files_that_leads_out_of_the_folder_is_damage(own_home, bundle):
    folder = baked_folder(bundle)
    (folder / "baked.json").write_text('{"../../../../../../../../../../dev/zero": "00"}')
    old(folder)
    assert kinds() == ["damaged baked files"]


def test_candidates_that_nobody_holds_are_removed(own_home, bundle):
    from device_app.models.baking import _in_use

    for name in ("candidate-left", "candidate-held"):
        (own_home / name).mkdir()
    with _in_use(own_home / "candidate-held"):
        assert [one.line for one in examine_models()] == [str(own_home / "candidate-left")]
        mend()
        assert not (own_home / "candidate-left").exists()
        assert (own_home / "candidate-held").exists()
