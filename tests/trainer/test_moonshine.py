"""Moonshine's exported graphs have the same outputs as transformers."""

import numpy as np
import onnx
import pytest

from editing.errors import BundleError
from export.verify import ParityError
from trainer import families
from trainer.families import moonshine


@pytest.fixture(scope="module")
def model(tiny_moonshine):
    model = moonshine.build(tiny_moonshine.config)
    families.load_weights(model, tiny_moonshine.weights())
    return model


def weights_of(model):
    return {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}


def test_graphs_have_the_outputs_of_transformers(model, tiny_moonshine):
    """With several lengths and batch sizes; the decoder runs step by step from an empty cache."""
    assert moonshine.verify_graphs(model, tiny_moonshine, weights_of(model)) <= 1e-4


def test_the_same_graphs_serve_merged_weights(model, tiny_moonshine):
    """After a merge, the same graph with the new weights must compute the merged model."""
    weights = {name: array + 0.05 * np.sign(array) for name, array in weights_of(model).items()}
    with pytest.raises(ParityError):
        moonshine.verify_graphs(model, tiny_moonshine, weights)
    merged = moonshine.build(tiny_moonshine.config)
    families.load_weights(merged, weights)
    assert moonshine.verify_graphs(merged, tiny_moonshine, weights) <= 1e-4


def test_initialisers_have_the_names_of_the_parameters(model, tiny_moonshine):
    found = {
        (tensor.name, tuple(tensor.dims))
        for path in tiny_moonshine.graphs().values()
        for tensor in onnx.load(path, load_external_data=False).graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    assert found == {(name, tuple(parameter.shape)) for name, parameter in model.named_parameters()}


def test_graphs_contain_no_paths_of_the_exporting_machine(tiny_moonshine):
    for path in tiny_moonshine.graphs().values():
        assert b"/work/" not in path.read_bytes()
        assert b"site-packages" not in path.read_bytes()


def test_the_error_lists_weights_that_do_not_fit(model, tiny_moonshine):
    weights = weights_of(model)
    weights["model.encoder.conv1.weight"] = np.zeros((3, 3), np.float32)
    weights["stray"] = weights.pop("model.decoder.norm.weight")
    with pytest.raises(
        BundleError, match=r"norm\.weight is missing; .*conv1\.weight has shape \(3, 3\).*stray is unknown"
    ):
        families.load_weights(moonshine.build(tiny_moonshine.config), weights)
