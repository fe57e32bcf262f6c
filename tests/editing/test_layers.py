import pytest

from editing.layers import depths, layer, of_name


def test_depth_goes_through_encoder_and_decoder(bundle):
    found = depths(bundle.weights())
    assert found["model.encoder.conv1.weight"] == found["model.encoder.layers.0.mlp.fc1.weight"] == 0
    assert found["model.encoder.layer_norm.weight"] == found["model.encoder.layers.5.mlp.fc1.weight"]
    assert found["model.decoder.embed_tokens.weight"] == found["model.decoder.layers.0.mlp.fc1.weight"]
    assert found["model.decoder.norm.weight"] == found["model.decoder.layers.5.mlp.fc1.weight"] == 1
    assert found["model.encoder.layers.5.mlp.fc1.weight"] == pytest.approx(5 / 11)


def test_layers_have_names_for_people():
    assert layer("model.encoder.layers.3.self_attn.q_proj.weight") == "encoder.layers.3"
    assert layer("model.encoder.conv1.weight") == "encoder.conv1"


def test_the_longest_part_of_a_name_decides():
    lam = {"*": 0.1, "encoder": 0.2, "encoder.layers.1": 0.3}
    assert [of_name(lam, name) for name in ("decoder.a", "encoder.layers.0.a", "encoder.layers.1.a")] == [0.1, 0.2, 0.3]
    assert of_name({"*": 1.0, "layers.1": 2.0}, "encoder.layers.10.a") == 1.0
