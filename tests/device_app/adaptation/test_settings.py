"""Merge settings are checked in advance."""

import pytest

from device_app.adaptation.settings import MergeSettings
from editing.errors import BadInputError


def test_missing_settings_have_the_defaults_of_the_method():
    assert MergeSettings("ties", {"lam": 0.3}).with_defaults() == {"lam": 0.3, "density": 0.5, "scope": "tensor"}


@pytest.mark.parametrize(
    ("merge", "problem"),
    [
        (MergeSettings("mean"), "no merge method 'mean'"),
        (MergeSettings("ties", {"density": 0.0}), "density is 0.0"),
        (MergeSettings("task_arithmetic", {"density": 0.5}), "task_arithmetic has no density"),
    ],
)
def test_a_wrong_setting_is_named(merge, problem):
    with pytest.raises(BadInputError, match=problem):
        merge.with_defaults()


PARAMETERS = ("model.encoder.layers.0.fc1.weight", "model.decoder.layers.0.fc1.weight", "model.decoder.norm.weight")


@pytest.mark.parametrize(
    ("lam", "problem"),
    [
        (
            {"foo": 0.3, "*": 0.6},
            "lambda: no layer of the model is named 'foo'; there are, for instance, encoder, decoder",
        ),
        ({"code": 0.3, "*": 0.6}, "no layer of the model is named 'code'"),
        ({"encoder": 0.3}, "lambda has no number for model.decoder.layers.0.fc1.weight; add one for all other layers"),
    ],
)
def test_a_lambda_by_layer_that_does_not_fit_the_model_is_refused(lam, problem):
    with pytest.raises(BadInputError, match=problem):
        MergeSettings("ties", {"lam": lam}).with_defaults(1, PARAMETERS)


@pytest.mark.parametrize("lam", [0.6, {"*": 0.6}, {"encoder": 0.3, "decoder": 0.4}, {"layers.0": 0.1, "norm": 0.2}])
def test_a_lambda_by_layer_that_fits_the_model_is_accepted(lam):
    assert MergeSettings("ties", {"lam": lam}).with_defaults(1, PARAMETERS)["lam"] == lam
