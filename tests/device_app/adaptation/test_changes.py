"""Which task vectors a merge gets."""

from types import SimpleNamespace

import pytest

from device_app.adaptation import changes
from device_app.adaptation.changes import load_vectors
from editing.errors import BadInputError


class Ledger:
    """Edit 1 has one vector, edit 2 two, edit 3 is a merge of edit 1 and another; a file is its own name."""

    def edit(self, identity):
        return SimpleNamespace(vectors={1: ["a"], 2: ["b", "c"], 3: ["a", "d"]}[identity])

    def vector(self, name):
        return f"vector {name}"

    def load(self, path):
        return f"file {path}"


def test_edits_and_files_are_named_as_the_user_did():
    assert load_vectors(Ledger(), ["1", "anna.safetensors"]) == {
        "edit 1": "vector a",
        "anna.safetensors": "file anna.safetensors",
    }


def test_an_edit_of_several_vectors_gives_all_of_them():
    assert list(load_vectors(Ledger(), ["2"]).values()) == ["vector b", "vector c"]


def test_a_file_with_the_task_vector_of_an_edit_is_refused(monkeypatch, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"1")
    monkeypatch.setattr(changes, "sha256", lambda _path: "a")
    with pytest.raises(BadInputError, match=r"1 and .*a\.safetensors have the same task vector"):
        load_vectors(Ledger(), ["1", str(tmp_path / "a.safetensors")])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1", "2", "1"], "1 is given twice"),
        (["3", "1"], "3 and 1 have the same task vector, which would be merged twice; name one of them"),
        (["a.safetensors", "a.safetensors"], "a.safetensors is given twice"),
        (["a.safetensors", "./a.safetensors"], "./a.safetensors is given twice, also as a.safetensors"),
    ],
)
def test_a_vector_that_is_given_twice_is_refused(names, message):
    with pytest.raises(BadInputError) as error:
        load_vectors(Ledger(), names)
    assert str(error.value) == message
