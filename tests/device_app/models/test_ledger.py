import fcntl
import json
import multiprocessing

import numpy as np
import pytest

from device_app.models.baking import baked
from device_app.models.ledger import Applied, Edit, Ledger, edited
from device_app.recognition.transcriber import Transcriber
from editing.errors import BadInputError, StorageError
from editing.registry import METHODS
from tests.device_app.conftest import CHANGED

SETTINGS = {"lam": 0.6, "density": 0.5}


@pytest.fixture
def learn(ledger, vector):
    """Promotes an edit; returns its task vector."""

    def make(domain, seed=0, **settings):
        made = vector(domain, seed)
        with ledger.changing():
            number = len(ledger.edits) + 1
            edit = Edit(number, "adapt", [domain], [ledger.keep(made)], "ties", {**SETTINGS, **settings})
            ledger.promote(ledger.drafted(edit), edit)
        return made

    return make


def merged(vector, **settings):
    return METHODS["ties"]([vector.tensors], **{**SETTINGS, **settings})


def assert_weights(found, base, *parts):
    for name in CHANGED:
        expected = base[name].astype(np.float64) + sum(part[name].astype(np.float64) for part in parts)
        np.testing.assert_allclose(found[name], expected, atol=1e-6)


def test_without_edits_the_base_is_in_service(ledger, bundle):
    assert edited(bundle) is bundle
    assert ledger.current.id == 0
    assert not ledger.path.exists()


def test_a_version_is_the_base_and_its_edits_in_order(ledger, learn, bundle):
    a, b = learn("a", 1), learn("b", 2, lam=0.3)
    assert [v.why for v in Ledger(bundle).history()] == ["the base model", "adapt a", "adapt b"]
    assert_weights(edited(bundle).weights(), bundle.weights(), merged(a), merged(b, lam=0.3))
    assert_weights(edited(bundle, 1).weights(), bundle.weights(), merged(a))
    assert edited(bundle, 0) is bundle


def test_reverting_the_middle_edit_leaves_the_base_and_the_others(ledger, learn, bundle):
    a, _, c = learn("a", 1), learn("b", 2), learn("c", 3)
    with ledger.changing():
        ledger.promote(ledger.without(2))
    assert_weights(edited(bundle).weights(), bundle.weights(), merged(a), merged(c))
    assert [ledger.is_applied(number) for number in (1, 2, 3)] == [True, False, True]
    with pytest.raises(BadInputError, match="edit 2 is not part of the version"):
        ledger.without(2)


def test_an_edit_can_be_weighed_otherwise_and_brought_back(ledger, learn, bundle):
    a, b = learn("a", 1), learn("b", 2)
    with ledger.changing():
        ledger.promote(ledger.with_settings(1, lam=0.2, density=1.0))
    assert_weights(edited(bundle).weights(), bundle.weights(), merged(a, lam=0.2, density=1.0), merged(b))
    with ledger.changing():
        ledger.promote(ledger.without(1))
        ledger.promote(ledger.with_settings(1, lam=0.1))
    assert_weights(edited(bundle).weights(), bundle.weights(), merged(b), merged(a, lam=0.1))
    with pytest.raises(BadInputError, match="has no alpha"):
        ledger.with_settings(1, alpha=1)


def test_rolling_back_leads_to_the_version_before_and_on_from_there(ledger, learn):
    learn("a", 1)
    learn("b", 2)
    with ledger.changing():
        assert ledger.roll_back().id == 1
        assert ledger.roll_back().id == 0
        with pytest.raises(BadInputError, match="nothing before it"):
            ledger.roll_back()
    learn("c", 3)
    assert (ledger.current.id, ledger.current.parent) == (3, 0)
    assert [applied.edit for applied in ledger.current.applied] == [3]


def test_an_edit_that_was_kept_out_changes_nothing(ledger, vector, bundle):
    with ledger.changing():
        ledger.reject(Edit(1, "adapt", ["a"], [ledger.keep(vector("a"))], "ties", SETTINGS, reasons=["too bad"]))
    assert edited(bundle) is bundle
    assert Ledger(bundle).edits[0].reasons == ["too bad"]


def test_an_edited_version_runs_and_its_files_are_its_own(ledger, learn, bundle, prompt):
    learn("a")
    version = edited(bundle)
    assert baked(version) != baked(bundle)
    assert "not in service" in Transcriber(version, threads=2).transcribe(prompt, 16000).text


def test_several_vectors_make_one_edit(ledger, vector, bundle):
    a, b = vector("a", 1), vector("b", 2)
    with ledger.changing():
        names = [ledger.keep(a), ledger.keep(b)]
        edit = Edit(1, "merge", ["a", "b"], names, "task_arithmetic", {"lam": 0.5})
        ledger.promote(ledger.draft([Applied(1, names, "task_arithmetic", {"lam": 0.5})], "merge a + b"), edit)
    half = [{name: 0.5 * tensor for name, tensor in v.tensors.items()} for v in (a, b)]
    assert_weights(edited(bundle).weights(), bundle.weights(), *half)
    assert ledger.domains(ledger.current) == ["a", "b"]


def test_what_does_not_exist_is_said(ledger):
    with pytest.raises(BadInputError, match="no edit 1"):
        ledger.edit(1)
    with pytest.raises(BadInputError, match="no version 4"):
        ledger.find_version(4)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format_version": 1}', b'{"format_version": 1, "edits": [{}]}']
)
def test_a_damaged_ledger_is_told_with_what_to_do(ledger, learn, bundle, content):
    """More of them in tests/hostile/test_ledger_files.py."""
    learn("a")
    ledger.path.write_bytes(content)
    with pytest.raises(
        StorageError, match=r"is damaged .*; take it from a backup, or let 'asr-edge doctor' put it aside"
    ):
        Ledger(bundle)
    ledger.path.unlink()
    learn("b")
    learn("c")
    ledger.path.write_bytes(content)
    with pytest.raises(StorageError, match="'asr-edge doctor' restores the ledger from before the last change"):
        Ledger(bundle)


def test_the_ledger_from_before_the_last_change_is_kept(ledger, learn, bundle):
    learn("a")
    assert not ledger.files.previous.exists()
    first = ledger.path.read_bytes()
    learn("b")
    assert ledger.files.previous.read_bytes() == first
    assert len(Ledger(bundle).edits) == 2


def test_a_ledger_that_is_gone_is_not_taken_for_a_new_one(ledger, learn, bundle):
    learn("a")
    learn("b")
    ledger.path.unlink()
    with pytest.raises(StorageError, match="it is missing, but the one from before the last change is there"):
        Ledger(bundle)
    with pytest.raises(StorageError), ledger.changing():
        pass
    with ledger.files.locked():
        ledger.files.restore()
    assert [edit.domain for edit in Ledger(bundle).edits] == ["a"]


def test_restoring_puts_the_damaged_ledger_aside_and_is_done_once(ledger, learn, bundle):
    a, b = learn("a", 1), learn("b", 2)
    ledger.path.write_bytes(b"rubbish")
    ledger.files.restore()
    assert_weights(edited(bundle).weights(), bundle.weights(), merged(a))
    (aside,) = ledger.files.quarantine.iterdir()
    assert aside.read_bytes() == b"rubbish"
    restored = ledger.path.read_bytes()
    ledger.files.restore()
    assert ledger.path.read_bytes() == restored
    assert len(list(ledger.files.quarantine.iterdir())) == 1
    assert {ledger.keep(a), ledger.keep(b)} == {path.stem for path in ledger.files.vectors.iterdir()}


def test_restoring_without_an_earlier_ledger_leaves_the_base_and_every_vector(ledger, learn, bundle):
    learn("a")
    ledger.path.write_bytes(b"rubbish")
    ledger.files.restore()
    assert edited(bundle) is bundle
    assert [path.read_bytes() for path in ledger.files.quarantine.iterdir()] == [b"rubbish"]
    assert len(list(ledger.files.vectors.iterdir())) == 1


# Task vectors that no edit names


def test_what_no_edit_names_is_put_aside_and_what_the_ledger_before_names_stays(ledger, learn, vector, bundle):
    """As the remedy that 0.1.0 printed left it: the damaged ledger moved away, the vectors beside it."""
    learn("a", 1)
    learn("b", 2)
    ledger.path.write_bytes(b"rubbish")
    ledger.path.rename(ledger.folder / "moved-away.json")
    lost = {path.name: path.read_bytes() for path in ledger.files.vectors.iterdir()}
    named_before = {f"{edit.vectors[0]}.safetensors" for edit in ledger.files.read(ledger.files.previous)[0].edits}
    ledger.files.previous.rename(ledger.folder / "previous.json")
    fresh = Ledger(bundle)
    with fresh.changing():
        edit = Edit(1, "adapt", ["c"], [fresh.keep(vector("c", 3))], "ties", SETTINGS)
        fresh.promote(fresh.drafted(edit), edit)
        (ledger.folder / "previous.json").rename(ledger.files.previous)
        fresh.put_aside_unnamed()
    assert {path.name: path.read_bytes() for path in ledger.files.quarantine.iterdir()} == {
        name: data for name, data in lost.items() if name not in named_before
    }
    assert named_before <= {path.name for path in ledger.files.vectors.iterdir()}


def test_a_killed_adapts_vector_is_put_aside_by_the_next_change(ledger, vector, bundle):
    with ledger.changing():
        name = ledger.keep(vector("killed"))
    with ledger.changing():
        ledger.put_aside_unnamed()
    assert not ledger.vector_path(name).exists()
    assert ledger.files.find_in_quarantine(name) is not None
    ledger.files.take_back(name)
    assert ledger.vector(name).origin.domain == "killed"


def test_a_dry_run_leaves_no_vector(ledger, vector):
    with ledger.changing():
        ledger.keep(vector("tried"))
        ledger.put_aside_unnamed()
    assert list(ledger.files.vectors.iterdir()) == []
    assert not ledger.files.quarantine.exists()


def test_a_vector_that_was_there_before_a_dry_run_is_put_aside(ledger, vector):
    killed = vector("killed")
    with ledger.changing():
        name = ledger.keep(killed)
    with ledger.changing():
        assert ledger.keep(killed) == name
        ledger.put_aside_unnamed()
    assert ledger.files.find_in_quarantine(name) is not None


def test_the_same_file_put_aside_twice_replaces_nothing(ledger):
    ledger.files.vectors.mkdir(parents=True)
    path = ledger.vector_path("ab" * 32)
    for content in (b"one", b"two"):
        path.write_bytes(content)
        ledger.files.move_into_quarantine(path)
    assert sorted(found.read_bytes() for found in ledger.files.quarantine.iterdir()) == [b"one", b"two"]


def test_a_later_ledger_is_not_touched(ledger, learn, bundle):
    learn("a")
    ledger.path.write_text(json.dumps({"format_version": 2}))
    with pytest.raises(StorageError, match="later asr-edge"):
        Ledger(bundle)


def test_a_missing_vector_is_said_with_what_to_do(ledger, learn, bundle):
    learn("a")
    ledger.vector_path(ledger.edits[0].vectors[0]).unlink()
    with pytest.raises(StorageError, match="is missing; 'asr-edge doctor' looks for a whole copy"):
        edited(bundle).weights()


def test_settings_that_cannot_be_merged_with_are_said(ledger, vector, bundle):
    with ledger.changing():
        edit = Edit(1, "adapt", ["a"], [ledger.keep(vector("a"))], "slerp", {"lam": 1.0, "place": 0.5})
        ledger.promote(ledger.drafted(edit), edit)
    with pytest.raises(StorageError, match=r"edit 1 cannot be applied \(slerp interpolates between two vectors"):
        edited(bundle).weights()


def test_a_vector_whose_bytes_changed_is_not_merged(ledger, learn, bundle):
    learn("a")
    path = ledger.vector_path(ledger.edits[0].vectors[0])
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StorageError, match="its bytes have changed"):
        edited(bundle).weights()


def hold(home, started, done):
    import os

    os.environ["ASR_EDGE_HOME"] = str(home)
    from device_app.models.bundles import embedded_bundle

    with Ledger(embedded_bundle()).changing():
        started.set()
        done.wait(30)


def test_two_processes_do_not_change_it_at_once(ledger, own_home):
    context = multiprocessing.get_context("spawn")
    started, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(own_home, started, done))
    process.start()
    assert started.wait(30)
    with pytest.raises(BadInputError, match="another asr-edge"), ledger.changing():
        pass
    done.set()
    process.join(30)
    with ledger.changing():
        pass


def test_it_and_a_process_of_an_older_version_exclude_each_other(ledger):
    ledger.folder.mkdir(parents=True)
    with (ledger.folder / "lock").open("a") as older:
        fcntl.flock(older, fcntl.LOCK_EX | fcntl.LOCK_NB)
        message = "^another asr-edge is changing this model; wait until it has finished$"
        with pytest.raises(BadInputError, match=message), ledger.changing():
            pass
    with ledger.changing(), (ledger.folder / "lock").open("a") as older, pytest.raises(BlockingIOError):
        fcntl.flock(older, fcntl.LOCK_EX | fcntl.LOCK_NB)
