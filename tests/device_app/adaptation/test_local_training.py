"""Local fine-tuning: its dependencies and its checkpoints."""

import importlib.util
from types import SimpleNamespace

import pytest

from device_app.adaptation import local_training
from device_app.adaptation.training_set import TrainingSet
from device_app.data.utterance import Utterance
from editing.errors import MissingDependencyError


def training_set(tmp_path, text="zero one", bake_inputs="base"):
    utterance = Utterance(audio=tmp_path / "a.flac", text=text)
    return TrainingSet(SimpleNamespace(bake_inputs=[bake_inputs]), [utterance], [], None)


def test_without_torch_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'asr-edge\[train\]'"):
        local_training.need_torch()


def test_a_checkpoint_is_specific_to_model_and_utterances(own_home, tmp_path):
    checkpoint = local_training._checkpoint
    assert checkpoint(training_set(tmp_path)) == checkpoint(training_set(tmp_path))
    others = [training_set(tmp_path, text="zero two"), training_set(tmp_path, bake_inputs="edited")]
    assert len({checkpoint(one) for one in (training_set(tmp_path), *others)}) == 3


def test_checkpoints_can_be_removed(own_home, tmp_path):
    path = local_training._checkpoint(training_set(tmp_path))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    local_training.remove_checkpoints()
    assert not path.exists()
    local_training.remove_checkpoints()  # with no checkpoint it does nothing
