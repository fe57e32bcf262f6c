"""Which task vectors a merge gets."""

from types import SimpleNamespace

import pytest

from device_app.adaptation.decision import load_vectors
from editing.errors import BadInputError


class Ledger:
    """Edit 1 has one vector, edit 2 two; a file is its own name."""

    def edit(self, identity):
        return SimpleNamespace(vectors=["a"] if identity == 1 else ["b", "c"])

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


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1", "2", "1"], "1 is given twice"),
        (["a.safetensors", "a.safetensors"], "a.safetensors is given twice"),
        (["a.safetensors", "./a.safetensors"], "./a.safetensors is given twice, also as a.safetensors"),
    ],
)
def test_a_vector_that_is_given_twice_is_refused(names, message):
    with pytest.raises(BadInputError) as error:
        load_vectors(Ledger(), names)
    assert str(error.value) == message
