"""Extras: a missing package is named together with the extra that installs it."""

import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest

from device_app import extras
from device_app.extras import PACKAGES, missing_packages, need_packages
from editing.errors import MissingDependencyError

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.fixture
def without(monkeypatch):
    """Makes packages look as if they were not installed."""
    found = importlib.util.find_spec

    def hide(*names):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in names else found(name))

    return hide


def test_only_what_is_missing_is_named(without):
    without("transformers")
    with pytest.raises(MissingDependencyError) as raised:
        need_packages("train", "learning", hint="A host can do it.")
    assert str(raised.value) == (
        "learning needs transformers, which is not installed: pip install '.[train]' in your clone of asr-edge. "
        "A host can do it."
    )


def test_several_missing_packages_are_all_named(without):
    without("uvicorn", "wyoming", "zeroconf")
    with pytest.raises(MissingDependencyError, match=r"^this command needs uvicorn, wyoming and zeroconf, which are"):
        need_packages("serve")


def test_nothing_is_raised_if_all_are_installed():
    need_packages("train")


def test_a_package_whose_import_is_forbidden_is_missing(monkeypatch):
    def forbidden(name):
        raise ImportError(f"{name} is not for the device")

    monkeypatch.setattr(importlib.util, "find_spec", forbidden)
    assert missing_packages("train") == ["torch", "transformers"]


def test_a_module_without_a_spec_is_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", type(sys)("av"))
    assert missing_packages("media") == ["av"]


@pytest.mark.parametrize("extra", PACKAGES)
def test_the_extra_installs_what_is_asked_for(extra):
    declared = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["optional-dependencies"][extra]
    installed = {line.partition(">")[0].partition("=")[0].partition("[")[0].replace("-", "_") for line in declared}
    assert {*PACKAGES[extra]} <= installed


def test_the_command_names_the_clone():
    assert extras.how_to_install("plots") == "pip install '.[plots]' in your clone of asr-edge"
