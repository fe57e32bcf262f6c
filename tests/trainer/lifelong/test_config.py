"""The configuration is validated completely before anything runs."""

from pathlib import Path

import pytest

from editing.errors import BadInputError
from trainer.lifelong.config import read_experiment

GOOD = """
base_domain = "us"
order = ["scotland", "india"]
never_trained = ["read"]
methods = ["fine-tuning", "ties"]
seeds = [0, 1]

[manifests]
us = "us/manifest.jsonl"
scotland = "scotland/manifest.jsonl"
india = "india.jsonl"
read = "read.jsonl"

[fine_tuning]
learning_rate = 3e-4

[settings.ties]
density = 0.2
"""


@pytest.fixture
def read(tmp_path):
    def run(text):
        path = tmp_path / "run.toml"
        path.write_text(text)
        return read_experiment(path)

    return run


def test_all_fields_are_read(read, tmp_path):
    experiment = read(GOOD)
    assert experiment.seen == ["us", "scotland", "india"]
    assert experiment.all_domains == ["us", "scotland", "india", "read"]
    assert experiment.manifests["india"] == tmp_path / "india.jsonl"
    assert experiment.fine_tuning == {"learning_rate": 3e-4}
    assert experiment.settings["ties"] == {"density": 0.2}


def test_paths_do_not_depend_on_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    path = tmp_path / "run.toml"
    path.write_text('base = "model"\n' + GOOD.lstrip())
    monkeypatch.chdir(tmp_path / "model")
    assert read_experiment(Path("../run.toml")) == read_experiment(path)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"fine-tuning", "ties"', '"fine-tuning", "ties", "magic"', "unknown method 'magic'; known are 1/t-average"),
        ('order = ["scotland", "india"]', "order = []", "order must not be empty"),
        ('order = ["scotland"', 'order = ["scotland", "wales"', r"\[manifests\] has no 'wales'"),
        ('"scotland", "india"]', '"india", "india"]', "order names something twice"),
        ('never_trained = ["read"]', 'never_trained = ["us"]', "'us' is in order or the base domain"),
        ("seeds = [0, 1]", 'seeds = ["a"]', "seeds must be a list of numbers"),
        ("learning_rate", "learning_pace", r"\[fine_tuning\] has an unknown 'learning_pace'"),
        ("density = 0.2", "weight = 1", r"\[settings.ties\] has an unknown 'weight'"),
        ("[settings.ties]", "[settings.magic]", r"\[settings.magic\]: unknown method; known are"),
        ("3e-4", '"fast"', r"\[fine_tuning\] learning_rate is 'fast'; expected a number from 0 to 1"),
        ("3e-4", "-1", r"\[fine_tuning\] learning_rate is -1; expected a number from 0 to 1"),
        ("3e-4", "3e-4\nepochs = 0", r"\[fine_tuning\] epochs is 0; expected a whole number from 1 to 10000"),
        ("density = 0.2", "density = 2", r"\[settings.ties\] density is 2; expected a number above 0 and at most 1"),
        ("density = 0.2", "lam = 99", r"\[settings.ties\] lam is 99; expected a number from -10 to 10"),
        (
            "[settings.ties]\ndensity = 0.2",
            "[settings.smear]\ntemperature = 0",
            r"\[settings.smear\] temperature is 0; expected a number above 0 and at most 1000",
        ),
        (
            "[settings.ties]\ndensity = 0.2",
            '[settings.lora]\nrank = 1.5\nfaster = "x"',
            r"\[settings.lora\] faster is 'x'; expected .*; \[settings.lora\] rank is 1.5; expected a whole number",
        ),
        (
            "[settings.ties]\ndensity = 0.2",
            "[settings.experience-replay]\nshare = 2",
            r"\[settings.experience-replay\] share is 2; expected a number above 0 and at most 1",
        ),
        (
            "[settings.ties]\ndensity = 0.2",
            "[settings.ewc]\nstrength = -1",
            r"\[settings.ewc\] strength is -1; expected a number from 0 to",
        ),
        ("density = 0.2", 'method = "tie"', r"\[settings.ties\] method is 'tie'; known are breadcrumbs"),
        ("density = 0.2", 'scope = "lora"', r"\[settings.ties\] scope is 'lora'; known are acoustic, all"),
        (
            'us = "us/manifest.jsonl"',
            'us = "us\\u0000/manifest.jsonl"',
            r"the manifest of 'us' is 'us\\x00/manifest.jsonl'",
        ),
        ("india = ", "i" * 201 + " = ", "cannot be the name of a domain: .* at most 200 bytes"),
        ("3e-4", "[" * 5000, "run.toml: cannot be read"),
        ("3e-4", "1" * 5000, "run.toml: cannot be read"),
        ("density = 0.2", 'scope = "ears"', r"\[settings.ties\] scope is 'ears'; known are acoustic, all, encoder"),
        ("density = 0.2", 'scope = ["all"]', r"\[settings.ties\] scope is \['all'\]; known are"),
        ("seeds = [0, 1]", "seeds = [0, -1]", "seeds: a seed is -1; expected a whole number from 0"),
        ("seeds = [0, 1]", "seeds = [5000000]", "seeds: a seed is 5000000; expected a whole number from 0 to 4000000"),
        ("seeds = [0, 1]", "seeds = []", "seeds must not be empty"),
        ("seeds = [0, 1]", "seeds = [0, 1]\nbase = 5", "base must be a name"),
        ('order = ["scotland"', 'order = ["us"', "'us' is the base domain, so it cannot be in order"),
        ("[settings.ties]\ndensity = 0.2", "[settings]\nties = 3", r"\[settings\.ties\] must be a table"),
        ("[manifests]", "[files]", "unknown key 'files'"),
        ("seeds = [0, 1]", "seeds = [0, 1", "cannot be read"),
        ("[manifests]", '[manifests]\n"../us" = "x"', "'../us' cannot be the name of a domain"),
    ],
)
def test_mistakes_are_errors(read, old, new, reason):
    with pytest.raises(BadInputError, match=reason):
        read(GOOD.replace(old, new, 1))


def test_all_mistakes_are_reported_together(read):
    with pytest.raises(BadInputError, match=r"magic.*weight") as error:
        read(GOOD.replace('"ties"]', '"ties", "magic"]').replace("density = 0.2", "weight = 1"))
    assert "\n" not in str(error.value)


def test_a_merge_method_without_density_needs_none(read):
    ties = '[settings.ties]\nmethod = "task_arithmetic"'
    assert read(GOOD.replace("[settings.ties]\ndensity = 0.2", ties)).settings["ties"] == {"method": "task_arithmetic"}
    with pytest.raises(BadInputError, match=r"\[settings.ties\] task_arithmetic has no density"):
        read(GOOD.replace("[settings.ties]", ties))


def test_the_learning_rate_of_lora_is_checked(read):
    lora = GOOD.replace('"fine-tuning", "ties"', '"fine-tuning", "lora"').replace("3e-4", "0.5")
    with pytest.raises(BadInputError, match="lora trains at 10 times the learning rate, 5; expected at most 1"):
        read(lora)
    assert read(lora.replace("0.5", "0.05")).methods == ["fine-tuning", "lora"]


def test_a_byte_order_mark_is_no_part_of_the_configuration(read):
    assert read("\ufeff" + GOOD) == read(GOOD)
