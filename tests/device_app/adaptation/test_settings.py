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
        (MergeSettings("ties", {"density": 0.0}), "density of 0.0"),
        (MergeSettings("task_arithmetic", {"density": 0.5}), "task_arithmetic has no density"),
    ],
)
def test_a_wrong_setting_is_named(merge, problem):
    with pytest.raises(BadInputError, match=problem):
        merge.with_defaults()
