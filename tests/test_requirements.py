"""The pinned requirements: every package has a version and a hash, no address, and a licence in the documents."""

import re
import tomllib

import pytest

from tests.conftest import REPOSITORY

LISTS = sorted((REPOSITORY / "requirements").glob("*.txt"))
LINE = re.compile(r"[a-z0-9-]+==[^ ]+ --hash=sha256:[0-9a-f]{64}")


def names(path):
    return {line.partition("==")[0] for line in path.read_text("utf-8").splitlines() if not line.startswith("#")}


def normalised(requirement):
    return re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", requirement)[0]).lower()


def test_there_are_lists():
    assert {path.name.partition("-")[0] for path in LISTS} == {"dev", "device"}


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_every_line_has_a_version_and_a_hash_and_no_address(path):
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    assert lines
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert "//" not in path.read_text("utf-8")


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_every_dependency_of_pyproject_is_in_the_list(path):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = list(project["dependencies"])
    if path.name.startswith("dev-"):
        for extra in ("train", "plots", "host", "cluster", "media", "docs", "dev"):
            wanted += project["optional-dependencies"][extra]
    assert {normalised(one) for one in wanted} - {"asr-edge"} <= names(path)


def test_every_package_has_a_licence_in_the_documents():
    text = (REPOSITORY / "docs" / "licences.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| ([a-z0-9-]+) \| (.+) \|$", text, re.MULTILINE))
    listed = set().union(*map(names, LISTS))
    assert listed == rows.keys() - {"package"}
    assert all(licence.strip() for licence in rows.values())
