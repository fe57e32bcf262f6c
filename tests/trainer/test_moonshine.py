"""The torch side of Moonshine: graphs that compute what transformers computes, and nothing else."""

import numpy as np
import onnx
import pytest
import torch

from editing.errors import BundleError
from export.bundle import GRAPHS, Bundle, write_record
from export.graphs import export_moonshine
from export.verify import ParityError
from trainer import families
from trainer.families import moonshine

TINY_CONFIG = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "encoder_num_hidden_layers": 2,
    "decoder_num_hidden_layers": 3,
    "encoder_num_attention_heads": 4,
    "decoder_num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 2,
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return moonshine.build(TINY_CONFIG)


@pytest.fixture(scope="module")
def tiny(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    export_moonshine(model, folder / GRAPHS)
    return write_record(
        Bundle(folder, "tiny", "moonshine", 16000, TINY_CONFIG, licence="none", origin="random numbers")
    )


def weights_of(model):
    return {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}


def test_graphs_compute_what_transformers_computes(model, tiny):
    """On several lengths and batch sizes; the decoder step by step from an empty cache."""
    assert moonshine.verify_graphs(model, tiny, weights_of(model)) <= 1e-4


def test_other_weights_need_no_new_graph(model, tiny):
    """A merge changes weights; the same graph must then compute the merged model."""
    weights = {name: array + 0.05 * np.sign(array) for name, array in weights_of(model).items()}
    with pytest.raises(ParityError):
        moonshine.verify_graphs(model, tiny, weights)
    merged = moonshine.build(TINY_CONFIG)
    families.load_weights(merged, weights)
    assert moonshine.verify_graphs(merged, tiny, weights) <= 1e-4


def test_initialisers_are_named_as_the_parameters(model, tiny):
    found = {
        (tensor.name, tuple(tensor.dims))
        for path in tiny.graphs().values()
        for tensor in onnx.load(path, load_external_data=False).graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    assert found == {(name, tuple(parameter.shape)) for name, parameter in model.named_parameters()}


def test_a_graph_says_nothing_of_the_machine_that_made_it(tiny):
    for path in tiny.graphs().values():
        assert b"/work/" not in path.read_bytes()
        assert b"site-packages" not in path.read_bytes()


def test_weights_that_do_not_fit_are_named(model):
    weights = weights_of(model)
    weights["model.encoder.conv1.weight"] = np.zeros((3, 3), np.float32)
    weights["stray"] = weights.pop("model.decoder.norm.weight")
    with pytest.raises(
        BundleError, match=r"norm\.weight is missing; .*conv1\.weight has shape \(3, 3\).*stray is unknown"
    ):
        families.load_weights(moonshine.build(TINY_CONFIG), weights)
