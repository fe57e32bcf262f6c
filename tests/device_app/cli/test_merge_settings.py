"""`--set NAME=VALUE`: every setting of a merge method, with the mistakes reported before any work."""

import pytest

from device_app.cli.options import gate_policy, merge_settings
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
        (["=0.02"], "--set =0.02: expected NAME=VALUE, for instance outliers=0.02"),
        (
            ["bogus=1"],
            "--set bogus=1: breadcrumbs has no bogus; it has --lambda, --density, --set outliers, --set scope",
        ),
        (["outliers=much"], "--set outliers=much: outliers is 'much'; expected a number of at least 0 and below 1"),
        (["outliers="], "--set outliers=: outliers is ''; expected a number of at least 0 and below 1"),
        (["outliers=1"], "--set outliers=1: outliers is 1.0; expected a number of at least 0 and below 1"),
        (["outliers=nan"], "--set outliers=nan: outliers is nan; expected a number of at least 0 and below 1"),
        (["scope=all"], "--set scope=all: scope is 'all'; expected one of tensor, global"),
        (["lam=0.3"], "--set lam=0.3: use --lambda"),
        (["lambda=0.3"], "--set lambda=0.3: use --lambda"),
        (["density=0.3"], "--set density=0.3: use --density"),
        (["outliers=0.02", "outliers = 0.03"], "--set outliers = 0.03: outliers is given twice"),
    ],
)
def test_a_mistake_is_one_line(given, message):
    with pytest.raises(BadInputError) as error:
        merge_settings(None, None, "breadcrumbs", given)
    assert str(error.value).startswith(message)


def test_spaces_around_a_name_and_its_value_make_no_difference():
    assert merge_settings(None, None, "breadcrumbs", [" outliers = 0.02 "]).settings == {"outliers": 0.02}
    assert merge_settings("encoder = 0.4, * = 0.6", None).settings == {"lam": {"encoder": 0.4, "*": 0.6}}


@pytest.mark.parametrize(
    ("lam", "density", "method", "message"),
    [
        ("11", None, "ties", "--lambda is 11.0; expected a number from -10 to 10"),
        ("nan", None, "ties", "--lambda is nan; expected a number from -10 to 10"),
        ("encoder=inf,*=0.6", None, "ties", "--lambda of 'encoder' is inf; expected a number from -10 to 10"),
        ("much", None, "ties", "--lambda much: expected a number, or numbers by layers: encoder=0.4,*=0.6"),
        ("=0.4", None, "ties", "--lambda =0.4: each layer needs a name, and is given once: encoder=0.4,*=0.6"),
        (
            "*=0.4,*=0.5",
            None,
            "ties",
            "--lambda *=0.4,*=0.5: each layer needs a name, and is given once: encoder=0.4,*=0.6",
        ),
        (None, 0.0, "ties", "--density is 0.0; expected a number above 0 and at most 1"),
        (None, float("nan"), "ties", "--density is nan; expected a number above 0 and at most 1"),
        (None, 0.5, "slerp", "--density: slerp has no density; it has --lambda, --set place"),
        (None, None, "tie", "there is no merge method 'tie'; there are breadcrumbs"),
    ],
)
def test_a_value_out_of_range_names_the_option(lam, density, method, message):
    with pytest.raises(BadInputError) as error:
        merge_settings(lam, density, method)
    assert str(error.value).startswith(message)


def test_a_negative_lambda_subtracts_a_vector_and_is_announced(capsys):
    assert merge_settings("-0.5", None).settings == {"lam": -0.5}
    assert "A negative lambda (here -0.5) subtracts the task vector" in capsys.readouterr().err


def test_an_adaptation_takes_no_negative_lambda():
    with pytest.raises(BadInputError, match=r"--lambda -0\.5: a negative lambda subtracts the task vector"):
        merge_settings("-0.5", None, allows_negative=False)


@pytest.mark.parametrize("tolerance", [float("nan"), -1.0])
def test_a_tolerance_that_is_no_number_of_points_is_refused(tolerance):
    with pytest.raises(BadInputError, match=r"--tolerance is .*; expected a number from 0 to 100"):
        gate_policy(tolerance, force=False, dry_run=False)


def test_only_an_adaptation_chooses_lambda_by_a_sweep():
    assert merge_settings("auto", None, allows_negative=False, allows_auto=True).settings == {}
    with pytest.raises(BadInputError, match="--lambda auto: only 'asr-edge adapt' chooses lambda by WER"):
        merge_settings("auto", None)
