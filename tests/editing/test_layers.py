import pytest

from editing.layers import coefficient_of, layer, relative_depths


def test_depth_increases_through_the_encoder_and_then_the_decoder(bundle):
    found = relative_depths(bundle.weights())
    assert found["model.encoder.conv1.weight"] == found["model.encoder.layers.0.mlp.fc1.weight"] == 0
    assert found["model.encoder.layer_norm.weight"] == found["model.encoder.layers.5.mlp.fc1.weight"]
    assert found["model.decoder.embed_tokens.weight"] == found["model.decoder.layers.0.mlp.fc1.weight"]
    assert found["model.decoder.norm.weight"] == found["model.decoder.layers.5.mlp.fc1.weight"] == 1
    assert found["model.encoder.layers.5.mlp.fc1.weight"] == pytest.approx(5 / 11)


def test_convolutions_before_the_first_layer_are_at_the_input():
    names = [f"encoder.subsampling.layers.{number}.weight" for number in (0, 6)]
    names += [f"encoder.layers.{number}.conv.pointwise.weight" for number in range(12)]
    found = relative_depths(names)
    assert [found[name] for name in names] == [0, 0, *(number / 11 for number in range(12))]


def test_layers_have_short_display_names():
    assert layer("model.encoder.layers.3.self_attn.q_proj.weight") == "encoder.layers.3"
    assert layer("model.encoder.conv1.weight") == "encoder.conv1"


def test_the_longest_listed_part_of_a_name_sets_the_coefficient():
    lam = {"*": 0.1, "encoder": 0.2, "encoder.layers.1": 0.3}
    assert [coefficient_of(lam, name) for name in ("decoder.a", "encoder.layers.0.a", "encoder.layers.1.a")] == [
        0.1,
        0.2,
        0.3,
    ]
    assert coefficient_of({"*": 1.0, "layers.1": 2.0}, "encoder.layers.10.a") == 1.0
