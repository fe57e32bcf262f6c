"""What a person reads about a decision of the gate, and what a script reads: verdict, plot and exit code."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from device_app.adaptation.decision import Outcome
from device_app.adaptation.gate import Change, Verdict
from device_app.adaptation.settings import GatePolicy
from device_app.adaptation.sweep import Candidate
from device_app.cli.terminal.outcome import REJECTED, edits_in_words, report_adaptation, report_outcome
from device_app.models.ledger import Applied, Edit, Version
from editing.errors import MissingDependencyError

CHANGE = Change(
    before=0.403, after=0.1, low=-0.352, high=-0.25, surely_better=1.0, harm=-0.3, utterances=40, set_size=40
)
SETTINGS = {"lam": 0.6, "density": 0.5}


def outcome(reasons=(), candidates=(), retired_terms=(), **policy):
    gate = GatePolicy(**policy)
    edit = Edit(3, "adapt", ["codes"], ["0" * 64], "ties", SETTINGS, reasons=() if gate.force else reasons)
    version = Version(1, 0, (Applied(3, edit.vectors, "ties", SETTINGS),))
    return Outcome(edit, version, Verdict({"codes": CHANGE}, reasons), gate, candidates, retired_terms=retired_terms)


REASONS = ["codes is not recognised better"]
SWEPT = [Candidate(0.2, 0.5, {}, {"codes": CHANGE}), Candidate(0.6, 0.5, {}, {"codes": CHANGE})]


@pytest.fixture
def ledger(tmp_path):
    return SimpleNamespace(folder=tmp_path)


def test_the_table_names_its_figures(capsys):
    report_outcome(outcome(), as_json=False)
    head, row, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["WER", "before", "after", "change", "(points)", "95", "%", "interval", "utterances"]
    assert row.split() == ["codes", "40.3%", "10.0%", "-30.3", "-35.2", "to", "-25.0", "40"]
    assert len(head) <= 80


def test_the_table_says_that_a_part_was_measured(capsys):
    partly = replace(outcome(), verdict=Verdict({"codes": replace(CHANGE, utterances=24)}, ()))
    report_outcome(partly, as_json=False)
    assert capsys.readouterr().out.splitlines()[1].split()[-3:] == ["24", "of", "40"]


@pytest.mark.parametrize(
    ("policy", "reasons", "said", "code"),
    [
        ({}, (), "The new version is active, with edit 3; 'asr-edge revert 3' undoes it.", 0),
        ({}, REASONS, "The new version was rejected. Edit 3 is saved: 'asr-edge reweight 3 --lambda 0.3' tries", 3),
        ({"force": True}, REASONS, "The new version is active, with edit 3;", 0),
        ({"dry_run": True}, (), "The new version would become active; nothing was changed (--dry-run).", 0),
        ({"dry_run": True}, REASONS, "The gate would reject the new version (--dry-run; nothing was saved).", 3),
        (
            {"dry_run": True, "force": True},
            REASONS,
            "The new version would become active, although the gate rejects it (--force); nothing was changed",
            0,
        ),
    ],
)
def test_the_decision_and_the_exit_code_agree(capsys, policy, reasons, said, code):
    if code:
        with pytest.raises(typer.Exit) as ended:
            report_outcome(outcome(reasons, **policy), as_json=False)
        assert ended.value.exit_code == code == REJECTED
    else:
        report_outcome(outcome(reasons, **policy), as_json=False)
    shown = capsys.readouterr()
    assert said in shown.out + shown.err
    assert ("is saved" in shown.err) == (not policy and bool(reasons))
    assert ("regardless" in shown.err) == (not policy and bool(reasons))


def test_the_document_tells_a_dry_run_from_a_rejection(capsys):
    report_outcome(outcome(dry_run=True), as_json=True)
    record = json.loads(capsys.readouterr().out)
    assert (record["promoted"], record["passes"], record["dry_run"]) == (False, True, True)


def test_words_that_need_no_help_any_more_are_named(capsys):
    report_outcome(outcome(retired_terms=["moka", "ristretto"]), as_json=False)
    assert (
        "The model now recognises these words without help; they were removed from your terms: moka, ristretto "
        "('asr-edge terms add' puts a word back)"
    ) in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
def test_a_disk_that_is_full_when_the_plot_is_written_costs_only_the_plot(ledger, monkeypatch, capsys, as_json):
    """The version is active by then, so its verdict must be shown."""
    pytest.importorskip("matplotlib")
    opened = Path.open

    def full(path, *arguments, **options):
        if "frontier" in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    report_adaptation(ledger, outcome(candidates=SWEPT), "codes", as_json)
    shown = capsys.readouterr()
    if as_json:
        assert json.loads(shown.out)["promoted"]
    else:
        assert "The new version is active, with edit 3;" in shown.out
    picture = ledger.folder / "frontier-3.png"
    assert f"The plot of the sweep was not saved: {picture}: No space left on device.\n" in shown.err
    assert "nothing was changed" not in shown.err
    assert list(ledger.folder.iterdir()) == []


def test_a_rejected_sweep_is_plotted_too(ledger, capsys):
    pytest.importorskip("matplotlib")
    with pytest.raises(typer.Exit):
        report_adaptation(ledger, outcome(REASONS, SWEPT), "codes", as_json=False)
    assert "<- chosen" in capsys.readouterr().out
    assert (ledger.folder / "frontier-3.png").read_bytes().startswith(b"\x89PNG")


def test_a_dry_run_writes_no_plot(ledger, capsys):
    """Its edit has no number of its own: the next edit would replace the plot."""
    report_adaptation(ledger, outcome(candidates=SWEPT, dry_run=True), "codes", as_json=False)
    assert "<- chosen" in capsys.readouterr().out
    assert list(ledger.folder.iterdir()) == []


def test_without_matplotlib_there_is_no_plot(ledger, monkeypatch, capsys):
    def no_matplotlib(*_arguments):
        raise MissingDependencyError("plots need matplotlib")

    monkeypatch.setattr("device_app.adaptation.plots.draw_frontier", no_matplotlib)
    report_adaptation(ledger, outcome(candidates=SWEPT), "codes", as_json=False)
    shown = capsys.readouterr()
    assert "The new version is active" in shown.out
    assert "lot of the sweep" not in shown.err


def test_a_vector_that_is_merged_already_is_a_document_too(ledger, capsys):
    report_adaptation(ledger, None, "codes", as_json=True)
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"promoted": False, "merged_before": True}
    assert "is merged already" in shown.err
    report_adaptation(ledger, None, "codes", as_json=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ([], "the base model, no edits"),
        ([1], "edit 1"),
        ([1, 3], "edits 1 and 3"),
        ([1, 3, 4], "edits 1, 3 and 4"),
    ],
)
def test_the_edits_of_a_version_in_words(edits, words):
    applied = tuple(Applied(number, [], "ties", {}) for number in edits)
    assert edits_in_words(Version(1, 0, applied)) == words
