"""The ledger of 767e81d opens: every edit, every version, the WER that were measured, and the weights they make."""

import json

import pytest

from tests.frozen import access
from tests.frozen.conftest import COMMITTED, MODEL
from tests.frozen.measure import digest

(PATH,) = (COMMITTED / "device" / "ledgers").glob("*/ledger.json")
FROZEN = json.loads(PATH.read_text("utf-8"))
VERSIONS = [version["id"] for version in FROZEN["versions"]]


def test_the_frozen_ledger_holds_every_kind_of_edit_and_version():
    assert [one["kind"] for one in FROZEN["edits"]] == ["adapt", "adapt", "adapt", "import", "merge", "fleet"]
    assert [bool(one["reasons"]) for one in FROZEN["edits"]] == [False, False, True, False, False, False]
    assert [one["why"] for one in FROZEN["versions"]] == [
        "the base model",
        "adapt cities",
        "adapt sense",
        "import sense",
        "revert 1",
        "remix 1",
        "merge cities + sense",
        "fleet crew",
    ]
    assert FROZEN["current"] == 6  # rolled back from 7
    assert all("canary" in one["before"] and "canary" in one["after"] for one in FROZEN["edits"])
    assert FROZEN["edits"][1]["settings"] == {"lam": {"encoder": 0.8, "*": 0.9}, "density": 0.8, "scope": "tensor"}


def test_every_edit_and_version_is_there_as_it_was(home):
    found = access.ledger(home, MODEL)
    assert [one.pop("state") for one in found["edits"]] == [
        "merged",
        "merged",
        "kept out",
        "active",
        "active",
        "reverted",
    ]
    assert all(one.pop("bytes") > 1000 for one in found["edits"])
    assert all("lam" in one.pop("effect")["settings"] for one in found["edits"])  # since 2026-11-28
    assert found == {key: FROZEN[key] for key in ("base", "current", "edits", "versions")}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_has_the_weights_that_it_had(home, expected, version):
    assert digest(access.weights(home, MODEL, version)) == expected["versions"][str(version)]


def test_every_edit_can_be_looked_at(home):
    for one in FROZEN["edits"]:
        found = access.edit(home, MODEL, one["id"])
        assert {key: found[key] for key in one} == one
        assert len(found["task_vectors"]) == len(one["vectors"])


def test_the_report_shows_what_was_measured(home):
    history, found = [6, 5, 4, 3, 2, 1, 0], access.report(home, MODEL)
    assert found["domains"] == ["cities", "sense", "canary"]
    assert [one["version"] for one in found["versions"]] == history[::-1]
    for one in found["versions"]:
        frozen = FROZEN["versions"][one["version"]]
        assert one["why"] == frozen["why"]
        assert {domain: one["wer"][domain] for domain in frozen["wer"] if domain in one["wer"]} == {
            domain: wer for domain, wer in frozen["wer"].items() if domain in found["domains"]
        }


def test_edits_go_on_from_it(home, expected):
    access.roll_back(home, MODEL)
    assert access.ledger(home, MODEL)["current"] == 5
    access.revert(home, MODEL, 1)
    found = access.ledger(home, MODEL)
    assert found["versions"][8]["why"] == "revert 1"
    assert (found["current"], found["versions"][8]["parent"]) == (8, 5)
    assert digest(access.weights(home, MODEL, 8)) == expected["versions"]["4"]  # before edit 1 was brought back


def test_an_edit_that_was_kept_out_can_be_put_into_service(home):
    found = access.reweight(home, MODEL, 3, 0.5)
    assert (found["promoted"], found["version"]) == (True, 8)
    assert found["domains"].keys() == {"cities", "sense", "canary"}
    frozen = FROZEN["versions"][6]["wer"]
    for domain in ("cities", "sense"):  # today's canary has other recordings, so its figures are others
        before = found["domains"][domain]["before"]
        assert before == pytest.approx(frozen[domain], abs=0.05), domain  # another machine rounds otherwise
