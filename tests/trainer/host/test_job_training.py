"""The host rebuilds the device's model from its base and the vectors in the archive."""

import hashlib

import numpy as np
import pytest

from device_app.models.baking import baked
from device_app.models.bundles import find_base
from device_app.remote.archive import ArchiveContents
from editing.errors import BadInputError
from editing.task_vector import Origin, TaskVector
from trainer.host.job_training import starting_bundle


@pytest.fixture
def archived(tiny_bundle, tmp_path):
    """A request with one edit, and the archive with its task vector."""
    random = np.random.default_rng(1)
    tensors = {name: random.standard_normal(shape, np.float32) for name, shape in tiny_bundle.shapes().items()}
    path = tmp_path / "vector.safetensors"
    TaskVector(tensors, Origin(tiny_bundle.family, tiny_bundle.weights_hash, "phone", utterances=1)).save(path)
    name = hashlib.sha256(path.read_bytes()).hexdigest()
    edit = {"vectors": [name], "method": "ties", "settings": {"lam": 0.6, "density": 0.5}}
    return {"base": tiny_bundle.weights_hash, "edits": [edit]}, ArchiveContents([], [], {name: path})


def test_a_rebuilt_bundle_is_baked_with_its_edits(host_home, archived):
    rebuilt = starting_bundle(*archived)
    base = find_base(rebuilt.weights_hash)
    files = [{path.name: path.read_bytes() for path in baked(one).glob("*.onnx")} for one in (rebuilt, base)]
    assert files[0].keys() == files[1].keys()
    assert files[0] != files[1]


def test_without_edits_the_base_is_fine_tuned(host_home, archived):
    request, unpacked = archived
    rebuilt = starting_bundle({**request, "edits": []}, unpacked)
    assert rebuilt == find_base(request["base"])


def test_a_vector_missing_from_the_archive_is_an_error(host_home, archived):
    with pytest.raises(BadInputError, match=r"^the archive lacks the task vector [0-9a-f]{8} of an edit$"):
        starting_bundle(archived[0], ArchiveContents([], [], {}))
