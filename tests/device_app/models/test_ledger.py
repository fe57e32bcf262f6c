import fcntl
import json
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest

from device_app.data.names import GUARD_SET
from device_app.models.baking import baked
from device_app.models.ledger import Applied, Edit, Ledger, Version, edited
from device_app.recognition.transcriber import Transcriber
from editing.errors import BadInputError, StorageError
from editing.methods import METHODS
from tests.device_app.conftest import CHANGED

SETTINGS = {"lam": 0.6, "density": 0.5}


@pytest.fixture
def adapt(ledger, vector):
    """Promotes a new edit; returns its task vector."""

    def make(domain, seed=0, **settings):
        made = vector(domain, seed)
        with ledger.changing():
            number = len(ledger.edits) + 1
            edit = Edit(number, "adapt", [domain], [ledger.store_vector(made)], "ties", {**SETTINGS, **settings})
            ledger.promote(ledger.with_edit(edit), edit)
        return made

    return make


def merged(vector, **settings):
    return METHODS["ties"]([vector.tensors], **{**SETTINGS, **settings})


def assert_weights(found, base, *parts):
    for name in CHANGED:
        expected = base[name].astype(np.float64) + sum(part[name].astype(np.float64) for part in parts)
        np.testing.assert_allclose(found[name], expected, atol=1e-6)


def test_an_edit_without_news_is_stored_as_before(ledger, vector, bundle):
    """Ledgers of an asr-edge that knows no codes have none of these fields."""
    later = {"held_out": 3, "rejection": "no gain", "retired_terms": ["Heusgen"]}
    with ledger.changing():
        plain = Edit(1, "adapt", ["a"], [ledger.store_vector(vector("a"))], "ties", SETTINGS)
        assert not plain.record().keys() & later.keys()
        ledger.reject(replace(plain, **later))
        found = Ledger(bundle).edits[0]
        assert {key: getattr(found, key) for key in later} == later
        ledger.record_retired_terms(1, [])
    assert Ledger(bundle).edits[0].retired_terms == ()


def test_baking_names_a_missing_vector_and_not_another_data_folder(ledger, adapt, bundle):
    adapt("a")
    ledger.vector_path(ledger.edit(1).vectors[0]).unlink()
    with pytest.raises(StorageError, match="is missing") as failure:
        baked(edited(bundle))
    assert "ASR_EDGE_HOME" not in str(failure.value)


def test_without_edits_the_base_is_active(ledger, bundle):
    assert edited(bundle) is bundle
    assert ledger.current.id == 0
    assert not ledger.path.exists()


def test_a_version_is_the_base_and_its_edits_in_order(ledger, adapt, bundle):
    a, b = adapt("a", 1), adapt("b", 2, lam=0.3)
    assert [v.why for v in Ledger(bundle).history()] == ["the base model", "adapt a", "adapt b"]
    assert_weights(edited(bundle).weights(), bundle.weights(), merged(a), merged(b, lam=0.3))
    assert_weights(edited(bundle, 1).weights(), bundle.weights(), merged(a))
    assert edited(bundle, 0) is bundle


def test_reverting_the_middle_edit_keeps_the_others(ledger, adapt, bundle):
    a, _, c = adapt("a", 1), adapt("b", 2), adapt("c", 3)
    with ledger.changing():
        ledger.promote(ledger.without(2))
    assert_weights(edited(bundle).weights(), bundle.weights(), merged(a), merged(c))
    assert [ledger.is_applied(number) for number in (1, 2, 3)] == [True, False, True]
    with pytest.raises(BadInputError, match="edit 2 is not part of the active version"):
        ledger.without(2)


def test_an_edit_can_be_reweighted_and_applied_again(ledger, adapt, bundle):
    a, b = adapt("a", 1), adapt("b", 2)
    with ledger.changing():
        ledger.promote(ledger.with_settings(1, lam=0.2, density=1.0))
    assert_weights(edited(bundle).weights(), bundle.weights(), merged(a, lam=0.2, density=1.0), merged(b))
    with ledger.changing():
        ledger.promote(ledger.without(1))
        ledger.promote(ledger.with_settings(1, lam=0.1))
    assert_weights(edited(bundle).weights(), bundle.weights(), merged(b), merged(a, lam=0.1, density=1.0))
    with pytest.raises(BadInputError, match="has no alpha"):
        ledger.with_settings(1, alpha=1)


def test_an_edit_that_was_rejected_at_first_has_the_figures_of_its_use(ledger, vector):
    """Regression: its gate may have measured general speech in part only, and that was compared with all of it."""
    with ledger.changing():
        digest = ledger.store_vector(vector("a"))
        wer = {"before": {"a": 0.5}, "after": {"a": 0.3}}  # of general speech, only a part was measured
        ledger.reject(Edit(1, "adapt", ["a"], [digest], "ties", SETTINGS, reasons=["general speech"], **wer))
        assert ledger.effect(ledger.edit(1)).after == {"a": 0.3}
        ledger.record_wer(ledger.current, {"a": 0.5, GUARD_SET: 0.171})
        ledger.promote(replace(ledger.with_settings(1, lam=0.3), wer={"a": 0.4, GUARD_SET: 0.17}))
    effect = ledger.effect(ledger.edit(1))
    assert effect.before == {"a": 0.5, GUARD_SET: 0.171}
    assert effect.after == {"a": 0.4, GUARD_SET: 0.17}
    with ledger.changing():
        ledger.promote(ledger.without(1))
        ledger.promote(ledger.with_settings(1, lam=0.2))  # not measured: figures of two versions are not mixed
    effect = ledger.effect(ledger.edit(1))
    assert (effect.before, effect.after) == ({"a": 0.5}, {"a": 0.3})


def test_a_reverted_edit_is_restored_as_it_was_applied_last(ledger, adapt):
    adapt("a", 1)
    first = ledger.current.applied[0].settings
    with ledger.changing():
        ledger.promote(ledger.with_settings(1, lam=0.2))
        ledger.promote(ledger.without(1))
        assert ledger.effect(ledger.edit(1)).settings == {**first, "lam": 0.2}
        assert ledger.with_settings(1).applied[0].settings == {**first, "lam": 0.2}
        ledger.roll_back()
        ledger.roll_back()
        assert ledger.effect(ledger.edit(1)).settings == first  # the reweight was undone


def test_a_task_vector_is_never_applied_twice():
    def edit(number, *vectors):
        return Edit(number, "merge", ["a"], vectors, "ties", {"lam": 1.0})

    def version(*edits):
        return Version(1, 0, [Applied(one.id, one.vectors, one.method, one.settings) for one in edits])

    part, other, both, more = edit(1, "a"), edit(2, "b"), edit(3, "a", "b"), edit(4, "b", "c")
    assert [one.edit for one in version(part, other).beside(both)] == []
    assert [one.edit for one in version(part, other).beside(edit(5, "c"))] == [1, 2]
    assert [one.edit for one in version(both).beside(edit(5, "b", "a"))] == []
    for now, new in ((both, part), (more, both)):
        with pytest.raises(BadInputError, match=f"edit {now.id}, which is active, has one of these task vectors"):
            version(now).beside(new)
    assert version(both).merged(part).edit == 3
    assert version(both).merged(both) is version(both).merged(more) is None


def test_a_forced_edit_that_is_taken_out_again_is_reverted_and_was_not_kept_out(ledger, adapt):
    adapt("a", 1)
    adapt("b", 2)
    forced = replace(ledger.edit(1), reasons=["general speech is recognised worse"])
    with ledger.changing():
        assert ledger.state(forced) == "active"
        ledger.promote(ledger.without(1))
    assert ledger.state(forced) == "reverted"
    assert ledger.state(replace(forced, id=3)) == "kept out"


def test_rolling_back_activates_the_parent_and_new_edits_follow_it(ledger, adapt):
    adapt("a", 1)
    adapt("b", 2)
    with ledger.changing():
        assert ledger.roll_back().id == 1
        assert ledger.roll_back().id == 0
        with pytest.raises(BadInputError, match="no version before it"):
            ledger.roll_back()
    adapt("c", 3)
    assert (ledger.current.id, ledger.current.parent) == (3, 0)
    assert [applied.edit for applied in ledger.current.applied] == [3]


def test_a_rejected_edit_does_not_change_the_active_version(ledger, vector, bundle):
    with ledger.changing():
        ledger.reject(
            Edit(1, "adapt", ["a"], [ledger.store_vector(vector("a"))], "ties", SETTINGS, reasons=["too bad"])
        )
    assert edited(bundle) is bundle
    assert Ledger(bundle).edits[0].reasons == ["too bad"]


def test_an_edited_version_transcribes_from_its_own_baked_files(ledger, adapt, bundle, prompt):
    adapt("a")
    version = edited(bundle)
    assert baked(version) != baked(bundle)
    assert "not in service" in Transcriber(version, threads=2).transcribe(prompt, 16000).text


def test_an_edit_can_have_several_vectors(ledger, vector, bundle):
    a, b = vector("a", 1), vector("b", 2)
    with ledger.changing():
        names = [ledger.store_vector(a), ledger.store_vector(b)]
        edit = Edit(1, "merge", ["a", "b"], names, "task_arithmetic", {"lam": 0.5})
        ledger.promote(ledger.draft([Applied(1, names, "task_arithmetic", {"lam": 0.5})], "merge a + b"), edit)
    half = [{name: 0.5 * tensor for name, tensor in v.tensors.items()} for v in (a, b)]
    assert_weights(edited(bundle).weights(), bundle.weights(), *half)
    assert ledger.domains(ledger.current) == ["a", "b"]


def test_a_missing_edit_or_version_is_an_error(ledger):
    with pytest.raises(BadInputError, match="no edit 1"):
        ledger.edit(1)
    with pytest.raises(BadInputError, match="no version 4"):
        ledger.find_version(4)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format_version": 1}', b'{"format_version": 1, "edits": [{}]}']
)
def test_a_damaged_ledger_is_an_error_that_names_the_remedy(ledger, adapt, bundle, content):
    """More damaged ledgers are in tests/hostile/test_ledger_files.py."""
    adapt("a")
    ledger.path.write_bytes(content)
    with pytest.raises(
        StorageError, match=r"is damaged .*; 'asr-edge restore FILE' .*, let 'asr-edge doctor' quarantine it"
    ):
        Ledger(bundle)
    ledger.path.unlink()
    adapt("b")
    adapt("c")
    ledger.path.write_bytes(content)
    with pytest.raises(StorageError, match="'asr-edge doctor' restores the ledger from before the last change"):
        Ledger(bundle)


def test_the_ledger_from_before_the_last_change_is_kept(ledger, adapt, bundle):
    adapt("a")
    assert not ledger.files.previous.exists()
    first = ledger.path.read_bytes()
    adapt("b")
    assert ledger.files.previous.read_bytes() == first
    assert len(Ledger(bundle).edits) == 2


def test_a_missing_ledger_with_a_previous_copy_is_an_error(ledger, adapt, bundle):
    adapt("a")
    adapt("b")
    ledger.path.unlink()
    with pytest.raises(StorageError, match="it is missing, but the copy from before the last change exists"):
        Ledger(bundle)
    with pytest.raises(StorageError), ledger.changing():
        pass
    with ledger.files.locked():
        ledger.files.restore()
    assert [edit.domain for edit in Ledger(bundle).edits] == ["a"]


def test_restoring_quarantines_the_damaged_ledger_once(ledger, adapt, bundle):
    a, b = adapt("a", 1), adapt("b", 2)
    ledger.path.write_bytes(b"rubbish")
    ledger.files.restore()
    assert_weights(edited(bundle).weights(), bundle.weights(), merged(a))
    (aside,) = ledger.files.quarantine.iterdir()
    assert aside.read_bytes() == b"rubbish"
    restored = ledger.path.read_bytes()
    ledger.files.restore()
    assert ledger.path.read_bytes() == restored
    assert len(list(ledger.files.quarantine.iterdir())) == 1
    assert {ledger.store_vector(a), ledger.store_vector(b)} == {path.stem for path in ledger.files.vectors.iterdir()}


def test_restoring_without_a_previous_ledger_keeps_the_base_and_all_vectors(ledger, adapt, bundle):
    adapt("a")
    ledger.path.write_bytes(b"rubbish")
    ledger.files.restore()
    assert edited(bundle) is bundle
    assert [path.read_bytes() for path in ledger.files.quarantine.iterdir()] == [b"rubbish"]
    assert len(list(ledger.files.vectors.iterdir())) == 1


# Unreferenced task vectors


def test_unreferenced_vectors_are_quarantined_but_not_those_of_the_previous_ledger(ledger, adapt, vector, bundle):
    """As after the remedy that 0.1.0 printed: the damaged ledger was moved away, the vectors were not."""
    adapt("a", 1)
    adapt("b", 2)
    ledger.path.write_bytes(b"rubbish")
    ledger.path.rename(ledger.folder / "moved-away.json")
    lost = {path.name: path.read_bytes() for path in ledger.files.vectors.iterdir()}
    named_before = {f"{edit.vectors[0]}.safetensors" for edit in ledger.files.read(ledger.files.previous)[0].edits}
    ledger.files.previous.rename(ledger.folder / "previous.json")
    fresh = Ledger(bundle)
    with fresh.changing():
        edit = Edit(1, "adapt", ["c"], [fresh.store_vector(vector("c", 3))], "ties", SETTINGS)
        fresh.promote(fresh.with_edit(edit), edit)
        (ledger.folder / "previous.json").rename(ledger.files.previous)
        fresh.quarantine_unreferenced()
    assert {path.name: path.read_bytes() for path in ledger.files.quarantine.iterdir()} == {
        name: data for name, data in lost.items() if name not in named_before
    }
    assert named_before <= {path.name for path in ledger.files.vectors.iterdir()}


def test_the_vector_of_a_killed_adapt_is_quarantined_by_the_next_change(ledger, vector, bundle):
    with ledger.changing():
        name = ledger.store_vector(vector("killed"))
    with ledger.changing():
        ledger.quarantine_unreferenced()
    assert not ledger.vector_path(name).exists()
    assert ledger.files.find_in_quarantine(name) is not None
    ledger.files.restore_vector(name)
    assert ledger.vector(name).origin.domain == "killed"


def test_a_dry_run_keeps_no_vector(ledger, vector):
    with ledger.changing():
        ledger.store_vector(vector("tried"))
        ledger.quarantine_unreferenced()
    assert list(ledger.files.vectors.iterdir()) == []
    assert not ledger.files.quarantine.exists()


def test_a_vector_that_existed_before_a_dry_run_is_quarantined(ledger, vector):
    killed = vector("killed")
    with ledger.changing():
        name = ledger.store_vector(killed)
    with ledger.changing():
        assert ledger.store_vector(killed) == name
        ledger.quarantine_unreferenced()
    assert ledger.files.find_in_quarantine(name) is not None


def test_quarantining_the_same_file_name_twice_keeps_both_files(ledger):
    ledger.files.vectors.mkdir(parents=True)
    path = ledger.vector_path("ab" * 32)
    for content in (b"one", b"two"):
        path.write_bytes(content)
        ledger.files.move_into_quarantine(path)
    assert sorted(found.read_bytes() for found in ledger.files.quarantine.iterdir()) == [b"one", b"two"]


def test_a_ledger_of_a_newer_version_is_an_error(ledger, adapt, bundle):
    adapt("a")
    ledger.path.write_text(json.dumps({"format_version": 2}))
    with pytest.raises(StorageError, match="newer asr-edge"):
        Ledger(bundle)


def test_a_missing_vector_is_an_error_that_names_the_remedy(ledger, adapt, bundle):
    adapt("a")
    ledger.vector_path(ledger.edits[0].vectors[0]).unlink()
    with pytest.raises(StorageError, match="is missing; 'asr-edge doctor' looks for an intact copy"):
        edited(bundle).weights()


def test_an_edit_with_invalid_settings_is_an_error(ledger, vector, bundle):
    with ledger.changing():
        edit = Edit(1, "adapt", ["a"], [ledger.store_vector(vector("a"))], "slerp", {"lam": 1.0, "place": 0.5})
        ledger.promote(ledger.with_edit(edit), edit)
    with pytest.raises(StorageError, match=r"edit 1 cannot be applied \(slerp interpolates between two vectors"):
        edited(bundle).weights()


def test_a_damaged_vector_is_not_merged(ledger, adapt, bundle):
    adapt("a")
    path = ledger.vector_path(ledger.edits[0].vectors[0])
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StorageError, match="is damaged; "):
        edited(bundle).weights()


def hold(home, started, done):
    import os

    os.environ["ASR_EDGE_HOME"] = str(home)
    from device_app.models.bundles import embedded_bundle

    with Ledger(embedded_bundle()).changing():
        started.set()
        done.wait(30)


def test_two_processes_cannot_change_it_at_the_same_time(ledger, own_home):
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


def test_it_excludes_processes_of_older_versions_and_vice_versa(ledger):
    ledger.folder.mkdir(parents=True)
    with (ledger.folder / "lock").open("a") as older:
        fcntl.flock(older, fcntl.LOCK_EX | fcntl.LOCK_NB)
        message = "^another asr-edge is changing this model; wait until it has finished$"
        with pytest.raises(BadInputError, match=message), ledger.changing():
            pass
    with ledger.changing(), (ledger.folder / "lock").open("a") as older, pytest.raises(BlockingIOError):
        fcntl.flock(older, fcntl.LOCK_EX | fcntl.LOCK_NB)
