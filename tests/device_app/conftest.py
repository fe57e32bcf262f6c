"""Fixtures shared by the tests of the ledger and of adaptation: task vectors for the embedded model."""

import shutil

import numpy as np
import pytest

from device_app.models.ledger import Ledger
from editing.task_vector import Origin, TaskVector

CHANGED = ("model.encoder.layers.1.self_attn.q_proj.weight", "model.decoder.norm.weight")


@pytest.fixture(scope="session")
def shapes(bundle):
    return {name: tensor.shape for name, tensor in bundle.weights().items()}


@pytest.fixture
def vector(bundle, shapes):
    """Makes a task vector of the embedded model: random in two tensors, zero elsewhere."""

    def make(domain, seed=0, size=1e-3):
        random = np.random.default_rng(seed)
        tensors = {
            name: random.standard_normal(shape, np.float32) * np.float32(size)
            if name in CHANGED
            else np.zeros(shape, np.float32)
            for name, shape in shapes.items()
        }
        return TaskVector(tensors, Origin("moonshine", bundle.weights_hash, domain)).as_stored()

    return make


@pytest.fixture
def own_home(transcriber, home, tmp_path, monkeypatch):
    """A data folder for one test, in which the base is baked already."""
    folder = tmp_path / "home"
    shutil.copytree(home / "baked", folder / "baked")
    monkeypatch.setenv("ASR_EDGE_HOME", str(folder))
    return folder


@pytest.fixture
def ledger(transcriber, own_home, bundle):
    return Ledger(bundle)
