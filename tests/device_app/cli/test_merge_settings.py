"""`--set NAME=VALUE`: every setting of a merge method, with the mistakes reported before any work."""

import pytest

from device_app.cli.options import merge_settings
from editing.errors import BadInputError


def test_settings_have_the_type_of_their_defaults():
    found = merge_settings("0.3", 0.4, "breadcrumbs", ["outliers=0.02", "scope=global"])
    assert (found.method, found.settings) == (
        "breadcrumbs",
        {"lam": 0.3, "density": 0.4, "outliers": 0.02, "scope": "global"},
    )
    assert merge_settings(None, None, "dare_ties", ["seed=7"]).settings == {"seed": 7}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["outliers"], "--set outliers: expected NAME=VALUE"),
        (["bogus=1"], "--set bogus=1: breadcrumbs has no bogus; it has lam, density, outliers, scope"),
        (["outliers=much"], "--set outliers=much: breadcrumbs: outliers is 'much'; expected a number"),
        (["lam=0.3"], "--set lam=0.3: use --lambda"),
        (["density=0.3"], "--set density=0.3: use --density"),
        (["outliers=0.02", "outliers=0.03"], "--set outliers=0.03: outliers is given twice"),
    ],
)
def test_a_mistake_is_one_line(given, message):
    with pytest.raises(BadInputError) as error:
        merge_settings(None, None, "breadcrumbs", given)
    assert str(error.value).startswith(message)
