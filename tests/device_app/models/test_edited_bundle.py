"""A base with edits has its own weights and its own baked files, whatever the source of its task vectors."""

from dataclasses import replace

import numpy as np
import pytest

from device_app.models.baking import baked, baked_folder
from device_app.models.edited_bundle import edited_bundle
from device_app.models.ledger_record import Applied
from editing.errors import BadInputError

SETTINGS = {"lam": 0.6, "density": 0.5}
EDIT = Applied(1, ["a"], "ties", SETTINGS)


class Source:
    """Provides task vectors from memory."""

    def __init__(self, tmp_path, **vectors):
        self._folder, self._vectors = tmp_path, vectors

    def vector_path(self, name):
        return self._folder / name

    def vector(self, name):
        return self._vectors[name]

    def cannot_apply(self, applied, reason):
        return BadInputError(f"edit {applied.edit}: {reason}")


@pytest.fixture
def source(vector, tmp_path):
    return Source(tmp_path, a=vector("a", 1), b=vector("b", 2))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.onnx")}


def test_its_baked_files_differ_from_those_of_the_base(transcriber, own_home, bundle, source):
    rebuilt = edited_bundle(bundle, [EDIT], source)
    ours, of_base = contents(baked(rebuilt)), contents(baked(bundle))
    assert ours.keys() == of_base.keys()
    assert ours != of_base


def test_baked_files_in_the_base_bundle_are_not_used(transcriber, own_home, bundle, source):
    shipped = replace(bundle, files={**bundle.files, "int8/encoder.onnx": "0" * 64})
    rebuilt = edited_bundle(shipped, [EDIT], source)
    assert not any(name.startswith("int8/") for name in rebuilt.files)
    assert baked_folder(rebuilt) != baked_folder(bundle)


@pytest.mark.parametrize(
    "other",
    [
        [],
        [replace(EDIT, vectors=["b"])],
        [replace(EDIT, method="task_arithmetic", settings={"lam": 0.6})],
        [replace(EDIT, settings={**SETTINGS, "lam": 0.5})],
        [EDIT, EDIT],
    ],
)
def test_any_difference_between_edits_gives_other_baked_files(transcriber, own_home, bundle, source, other):
    assert baked_folder(edited_bundle(bundle, [EDIT], source)) != baked_folder(edited_bundle(bundle, other, source))


def test_the_number_of_an_edit_does_not_affect_the_baked_files(transcriber, own_home, bundle, source):
    ledger, archive = (edited_bundle(bundle, [replace(EDIT, edit=number)], source) for number in (1, 7))
    assert baked_folder(ledger) == baked_folder(archive)


def test_an_edit_that_cannot_be_applied_raises_the_error_of_the_source(bundle, source):
    unfit = edited_bundle(bundle, [replace(EDIT, edit=3, settings={"lam": 0.6, "density": 2.0})], source)
    with pytest.raises(BadInputError, match="edit 3: "):
        unfit.weights()


def test_its_vector_files_are_listed_without_duplicates(bundle, source, tmp_path):
    rebuilt = edited_bundle(bundle, [EDIT, replace(EDIT, vectors=["b", "a"])], source)
    assert rebuilt.vector_paths() == [tmp_path / "a", tmp_path / "b"]


def test_its_weights_differ_from_the_base_only_in_the_edited_tensors(bundle, source):
    found, base = edited_bundle(bundle, [EDIT], source).weights(), bundle.weights()
    changed = {name for name in base if not np.array_equal(found[name], base[name])}
    assert changed == {name for name, tensor in source.vector("a").tensors.items() if np.any(tensor)}
