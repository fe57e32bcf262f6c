"""The data that a device contributes to a group."""

import dataclasses
import os
import time

import pytest

from device_app.data.names import GUARD_SET
from device_app.models.ledger import Edit
from device_app.remote.fleet import ABANDONED_S, _remove_abandoned, contribution, edits_of
from editing.errors import BadInputError
from editing.task_vector import TaskVector


@pytest.fixture
def edit(ledger, vector):
    made = Edit(
        id=1,
        kind="adapt",
        domains=["anna"],
        vectors=[ledger.store_vector(vector("anna", 0))],
        method="ties",
        settings={"lam": 0.6},
        before={"anna": 0.5, GUARD_SET: 0.1, "ben": 0.3},
        after={"anna": 0.25, GUARD_SET: 0.125, "ben": 0.2},
    )
    with ledger.changing():
        ledger.promote(ledger.with_edit(made), made)
    return made


def test_a_contribution_has_scores_but_not_the_name_of_the_domain(ledger, edit, tmp_path):
    data = contribution(ledger, 1, 0.25)
    assert b"anna" not in data
    path = tmp_path / "given.safetensors"
    path.write_bytes(data)
    given = TaskVector.load(path, base=ledger.base.weights_hash, shapes=ledger.base.shapes())
    assert given.origin.domain == ""
    assert given.origin.scores == {
        "before": 0.5,
        "after": 0.25,
        "general_speech_before": 0.1,
        "general_speech_after": 0.125,
    }
    whole = ledger.vector(edit.vectors[0])
    assert given.density == pytest.approx(0.25 * whole.density, rel=0.25)  # entries of both round to 0


def test_only_adaptations_of_this_device_are_contributed(ledger, edit):
    imported = dataclasses.replace(edit, id=2, kind="import")
    with ledger.changing():
        ledger.promote(ledger.with_edit(imported), imported)
    with pytest.raises(BadInputError, match="edit 2 is not an adaptation of this device"):
        contribution(ledger, 2, 0.5)


def test_edits_of_a_group_are_those_that_came_from_it(ledger, edit):
    fleet = dataclasses.replace(edit, id=2, kind="fleet", domains=["crew"])
    with ledger.changing():
        ledger.promote(ledger.with_edit(fleet), fleet)
    assert edits_of(ledger, "crew") == [2]
    assert edits_of(ledger, "anna") == []


def test_the_temporary_folder_of_a_killed_pull_is_removed_later(own_home):
    for name, age_s in (("fleet-old", 2 * ABANDONED_S), ("fleet-new", 60.0)):
        (own_home / name).mkdir(parents=True)
        (own_home / name / "vector.safetensors").touch()
        os.utime(own_home / name, (time.time() - age_s,) * 2)
    _remove_abandoned()
    assert [path.name for path in own_home.glob("fleet-*")] == ["fleet-new"]
