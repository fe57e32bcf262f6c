"""Findings about ledgers, task vectors and baked files, and their repair."""

import os
import shutil
import time

import pytest

from device_app.models.baking import baked, baked_folder
from device_app.models.check import examine_models
from device_app.models.ledger import Edit, Ledger, edited
from editing.errors import StorageError
from editing.task_vector import TaskVector

SETTINGS = {"lam": 0.6, "density": 0.5}


@pytest.fixture
def adapt(ledger, vector):
    def make(domain, seed=0):
        with ledger.changing():
            number = len(ledger.edits) + 1
            edit = Edit(number, "adapt", [domain], [ledger.store_vector(vector(domain, seed))], "ties", SETTINGS)
            ledger.promote(ledger.with_edit(edit), edit)
        return edit.vectors[0]

    return make


def kinds(*, faults=True):
    return [one.kind for one in examine_models() if one.is_fault or not faults]


def repair():
    for one in examine_models():
        if one.repair is not None:
            one.repair()


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def age(folder):
    """Sets the times of all files to an hour ago."""
    before = time.time() - 3600
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (before, before))


def test_intact_files_have_no_findings(ledger, adapt, bundle):
    adapt("a", 1)
    adapt("b", 2)
    baked(edited(bundle))
    assert examine_models() == []


def test_a_missing_data_folder_has_no_findings(own_home):
    shutil.rmtree(own_home)
    assert examine_models() == []
    assert not own_home.exists()


def test_examining_changes_nothing(ledger, adapt, own_home):
    adapt("a", 1)
    adapt("b", 2)
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


def test_a_damaged_ledger_is_restored(ledger, adapt, bundle):
    first, second = adapt("a", 1), adapt("b", 2)
    ledger.path.write_bytes(b"rubbish")
    (found,) = examine_models()
    assert (found.kind, found.is_fault) == ("damaged ledgers", True)
    assert found.line.startswith(f"{ledger.path}: ")
    assert "from before the last change replaces it" in found.remedy
    found.repair()
    assert [edit.domain for edit in Ledger(bundle).edits] == ["a"]
    assert ledger.vector_path(second).is_file()
    # The restored ledger does not have the second edit: its vector is found, quarantined, and can be imported again.
    assert kinds() == ["unreferenced task vectors"]
    repair()
    assert kinds() == []
    aside = {one.line.split(": ")[0] for one in examine_models()}
    assert str(ledger.files.find_in_quarantine(second)) in aside
    assert TaskVector.load(ledger.files.find_in_quarantine(second)).origin.domain == "b"
    assert ledger.vector_path(first).is_file()


def test_without_a_previous_ledger_the_base_becomes_active(ledger, adapt, bundle):
    name = adapt("a")
    ledger.path.write_bytes(b"rubbish")
    (found,) = examine_models()
    assert "restore it from a backup; otherwise" in found.remedy
    found.repair()
    assert edited(bundle) is bundle
    assert kinds() == ["missing ledgers", "unreferenced task vectors"]
    assert ledger.vector_path(name).is_file()


def test_a_ledger_that_was_repaired_in_the_meantime_is_unchanged(ledger, adapt, bundle):
    adapt("a", 1)
    adapt("b", 2)
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(b"rubbish")
    (found,) = examine_models()
    ledger.path.write_bytes(whole)
    found.repair()
    assert ledger.path.read_bytes() == whole


def test_a_ledger_of_a_newer_version_is_unchanged(ledger, adapt):
    adapt("a", 1)
    adapt("b", 2)
    ledger.path.write_text('{"format_version": 2}')
    (found,) = examine_models()
    assert (found.kind, found.is_fault, found.repair) == ("ledgers of a newer asr-edge", False, None)


def test_a_damaged_copy_of_the_previous_ledger_is_quarantined(ledger, adapt):
    adapt("a", 1)
    adapt("b", 2)
    ledger.files.previous.write_bytes(b"")
    assert kinds() == ["damaged copies of the previous ledger"]
    repair()
    assert kinds() == []
    assert not ledger.files.previous.exists()


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_vector_is_named_and_replaced_by_an_intact_copy(ledger, adapt, bundle, damage):
    name = adapt("a")
    path = ledger.vector_path(name)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(whole[:-1] + b"x")
    (found,) = examine_models()
    assert (found.kind, found.repair) == ("missing or damaged task vectors of active edits", None)
    assert found.line.startswith(f"{path}: the task vector of edit 1 ")
    assert "asr-edge revert" in found.remedy
    ledger.files.quarantine.mkdir(exist_ok=True)
    (ledger.files.quarantine / path.name).write_bytes(whole)
    assert kinds() == ["damaged task vectors with an intact copy"]
    repair()
    assert kinds() == []
    assert path.read_bytes() == whole


def test_a_vector_that_does_not_fit_its_base_is_a_finding(ledger, adapt, vector, bundle):
    other = vector("b")
    smaller = TaskVector(dict(list(other.tensors.items())[1:]), other.origin)
    with ledger.changing():
        edit = Edit(1, "import", ["b"], [ledger.store_vector(smaller)], "ties", SETTINGS, reasons=["it does not fit"])
        ledger.reject(edit)
    (found,) = examine_models()
    assert found.kind == "missing or damaged task vectors of inactive edits"
    assert "cannot be merged (does not fit the model: " in found.line


def test_a_ledger_without_its_model_is_examined(ledger, adapt, bundle, monkeypatch):
    name = adapt("a")
    monkeypatch.setattr("device_app.models.bundles.EMBEDDED", bundle.folder / "none")
    assert kinds(faults=False) == ["ledgers without their model"]
    ledger.vector_path(name).write_bytes(b"rubbish")
    assert kinds() == ["missing or damaged task vectors of active edits"]


def test_incomplete_files_are_removed_and_unreferenced_vectors_quarantined(ledger, adapt, vector):
    adapt("a")
    half = ledger.files.vectors / f".{'ab' * 32}.safetensors.0123.tmp"
    half.write_bytes(b"half")
    stray = ledger.vector_path("cd" * 32)
    stray.write_bytes(vector("stray").to_bytes())
    found = {one.kind: one for one in examine_models()}
    assert found.keys() == {"incomplete files of models", "unreferenced task vectors"}
    assert "stray, 0 utterances" in found["unreferenced task vectors"].line
    repair()
    assert not half.exists()
    assert [path.name for path in ledger.files.quarantine.iterdir()] == [stray.name]
    # Files in quarantine are listed with a remedy, and are not a fault.
    (listed,) = examine_models()
    assert (listed.is_fault, listed.repair) == (False, None)
    assert "remove the files if you do not need them" in listed.remedy


@pytest.mark.parametrize("damage", ["record is missing", "record is damaged", "file is missing", "file is changed"])
def test_damaged_baked_files_are_removed(own_home, bundle, damage):
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
    age(folder)
    assert kinds() == ["damaged baked files"]
    repair()
    assert not folder.exists()
    assert kinds() == []


def test_a_record_of_baked_files_with_a_path_outside_the_folder_is_damage(own_home, bundle):
    folder = baked_folder(bundle)
    (folder / "baked.json").write_text('{"../../../../../../../../../../dev/zero": "00"}')
    age(folder)
    assert kinds() == ["damaged baked files"]


def test_candidates_that_no_process_uses_are_removed(own_home, bundle):
    from device_app.models.baking import _in_use

    for name in ("candidate-left", "candidate-in-use"):
        (own_home / name).mkdir()
    with _in_use(own_home / "candidate-in-use"):
        assert [one.line for one in examine_models()] == [str(own_home / "candidate-left")]
        repair()
        assert not (own_home / "candidate-left").exists()
        assert (own_home / "candidate-in-use").exists()


@pytest.mark.parametrize("name", ["ledger", "previous"])
def test_a_ledger_that_cannot_be_read_is_reported_and_not_moved(ledger, adapt, bundle, name):
    """It may be intact: after a disk error, or as another user."""
    adapt("a")
    adapt("b")
    path = getattr(ledger.files, name)
    path.unlink()
    path.mkdir()
    before = files(ledger.folder)
    assert kinds() == [
        "ledgers that cannot be read" if name == "ledger" else "copies of the previous ledger that cannot be read"
    ]
    repair()
    assert files(ledger.folder) == before
    assert path.is_dir()
    if name == "ledger":
        with pytest.raises(StorageError, match=r"ledger\.json: cannot be read"):
            Ledger(bundle)


def test_a_damaged_ledger_stays_while_its_previous_copy_cannot_be_read(ledger, adapt):
    adapt("a")
    ledger.path.write_text("{")
    ledger.files.previous.unlink(missing_ok=True)
    ledger.files.previous.mkdir()
    with pytest.raises(StorageError, match="cannot be read"):
        ledger.files.restore()
    assert ledger.path.read_text() == "{"
