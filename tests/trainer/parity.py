"""A bundle against transformers, for models of any size."""

from device_app.recognition.families import find
from export.bake import bake


def assert_outputs_are_those_of_transformers(family, model, bundle, audio, folder):
    """Compares the graphs' numbers, and the greedy tokens of the model baked at fp32 into the folder.

    Args:
        family: the module of `trainer.families`.
        model: transformers' model with the bundle's weights.
        bundle: the bundle.
        audio: (samples,) at 16 kHz.
        folder: where to bake it.
    """
    difference = family.verify_graphs(model, bundle, bundle.weights())
    print(f"{bundle.name}: largest difference {difference:.1e}")
    assert difference <= 1e-4
    bake(bundle, bundle.weights(), "fp32", folder)
    written = find(bundle).load(bundle, folder, 2).decode(audio).tokens
    assert len(set(written)) > 5
    assert family.generate_tokens(model, audio, len(written)) == list(written)
