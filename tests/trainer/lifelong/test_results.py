"""All metrics, compared with values computed by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from editing.errors import BadInputError
from trainer.lifelong.cells import Cell
from trainer.lifelong.config import Experiment
from trainer.lifelong.metrics import coverage, relative_reduction, significance
from trainer.lifelong.results import summarise, write_results
from trainer.lifelong.run_folder import RunFolder
from trainer.lifelong.tables import summary

WORDS = [10, 10]


def errors(**wer):
    """Two utterances of ten words in each domain; all errors are in the first. WER in per cent."""
    return {domain: {"wrong": [round(rate / 5), 0], "words": WORDS} for domain, rate in wer.items()}


@pytest.fixture
def experiment(tmp_path):
    manifests = dict.fromkeys(["us", "scotland", "india", "never"], tmp_path / "m.jsonl")
    return Experiment(
        order=["scotland", "india"],
        methods=["fine-tuning", "ties", "separate"],
        manifests=manifests,
        base_domain="us",
        never_trained=["never"],
    )


def write(out, method, *steps, seed=0):
    folder = out / "cells" / method / (f"seed-{seed}" if method != "base" else "")
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(steps, 0 if method == "base" else 1):
        record = {"domain": "x", "seconds": 10.0 * number, "stored_mb": 2.0, "peak_gb": 1.0, "errors": one}
        (folder / f"step-{number}.json").write_text(json.dumps(record))


@pytest.fixture
def out(tmp_path):
    """A run in which fine-tuning forgets, TIES does not, and separate models are best."""
    write(tmp_path, "base", errors(us=10, scotland=40, india=50, never=20))
    write(
        tmp_path,
        "fine-tuning",
        errors(us=20, scotland=20, india=45, never=30),
        errors(us=30, scotland=35, india=25, never=40),
    )
    write(
        tmp_path,
        "ties",
        errors(us=10, scotland=25, india=45, never=20),
        errors(us=15, scotland=25, india=35, never=20),
    )
    write(tmp_path, "separate", errors(scotland=20), errors(india=15))
    return tmp_path


def test_the_matrix_has_the_measured_wers(experiment, out):
    cell = Cell(experiment, RunFolder(out), "fine-tuning", 0)
    np.testing.assert_allclose(cell.wer[:, :3] * 100, [[10, 40, 50], [20, 20, 45], [30, 35, 25]])
    assert cell.average(experiment.seen) == pytest.approx(0.30)
    assert cell.average_by_step() == pytest.approx([0.10, 0.20, 0.30])


def test_backward_transfer_is_the_mean_change_since_each_domains_step(experiment, out):
    """us: 10 -> 30, scotland: 20 -> 35; so -(20 + 15) / 2 points."""
    assert Cell(experiment, RunFolder(out), "fine-tuning", 0).backward_transfer() == pytest.approx(-0.175)
    assert Cell(experiment, RunFolder(out), "ties", 0).backward_transfer() == pytest.approx(-0.025)


def test_forward_transfer_is_the_mean_change_before_each_domains_step(experiment, out):
    """india: 50 with the base, 45 after scotland. scotland is first, so it does not count."""
    assert Cell(experiment, RunFolder(out), "fine-tuning", 0).forward_transfer() == pytest.approx(0.05)


def test_backward_transfer_agrees_with_the_definition_of_lopez_paz_and_ranzato(experiment, out):
    """Oracle: their formula on accuracies R[i, j], as computed by Avalanche: the mean of R[T, j] - R[j, j]."""
    accuracy = 1 - Cell(experiment, RunFolder(out), "fine-tuning", 0).wer[:, :3]
    oracle = np.mean([accuracy[2, j] - accuracy[j, j] for j in range(2)])
    assert Cell(experiment, RunFolder(out), "fine-tuning", 0).backward_transfer() == pytest.approx(oracle)


def test_without_a_base_domain_only_the_domains_of_the_sequence_count(experiment, out):
    from dataclasses import replace

    cell = Cell(replace(experiment, base_domain=None), RunFolder(out), "fine-tuning", 0)
    assert cell.average(["scotland", "india"]) == pytest.approx(0.30)
    assert cell.backward_transfer() == pytest.approx(-0.15)
    assert cell.average_by_step() == pytest.approx([0.20, 0.30])


def test_separate_models_are_scored_on_their_own_domains(experiment, out):
    cell = Cell(experiment, RunFolder(out), "separate", 0)
    np.testing.assert_allclose(cell.wer[-1, :3] * 100, [10, 20, 15])
    assert cell.average(experiment.seen) == pytest.approx(0.15)


def test_the_summary_has_all_metrics(experiment, out):
    results = summarise(experiment, out)
    ties = results["methods"]["ties"]
    assert ties["average_wer"] == pytest.approx(0.25)
    assert ties["average_all"] == pytest.approx((0.15 + 0.25 + 0.35 + 0.20) / 4)
    assert ties["werr"] == pytest.approx((0.30 - 0.25) / 0.30)
    assert ties["werr_all"] == pytest.approx((0.325 - 0.2375) / 0.325)
    assert ties["coverage"] == pytest.approx((0.30 - 0.25) / (0.30 - 0.15))
    assert results["methods"]["separate"]["coverage"] == pytest.approx(1.0)
    assert results["methods"]["separate"]["average_all"] is None
    assert (ties["seconds_per_domain"], ties["stored_mb_per_domain"]) == (15.0, 2.0)
    text = summary(results)
    assert text.index("| separate |") < text.index("| ties |") < text.index("| fine-tuning |")
    assert "+16.7 %" in text


def test_the_file_is_json_where_a_wer_was_not_measured(experiment, out, monkeypatch):
    found = summarise(experiment, out)
    found["methods"]["separate"]["runs"][0]["wer"][0][1] = float("nan")
    monkeypatch.setattr("trainer.lifelong.results.summarise", lambda *_arguments: found)
    write_results(experiment, out)
    written = json.loads((out / "results.json").read_text(), parse_constant=pytest.fail)
    assert written["methods"]["separate"]["runs"][0]["wer"][0][1] is None


def test_the_files_have_the_same_results(experiment, out):
    results = write_results(experiment, out)
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(results))
    lines = (out / "results.csv").read_text().splitlines()
    assert "ties,0,2,india,india,0.35000" in lines
    assert "separate,0,1,scotland,india,0.50000" in lines  # before its own step, the base's WER


def test_an_unfinished_cell_is_omitted(experiment, out):
    (out / "cells" / "ties" / "seed-0" / "step-2.json").unlink()
    assert "ties" not in summarise(experiment, out)["methods"]
    with pytest.raises(BadInputError, match="no method has finished yet"):
        summarise(experiment, out / "cells")


def test_significance_is_computed_on_paired_utterances(experiment, out, tmp_path):
    one, other = (Cell(experiment, RunFolder(out), method, 0) for method in ("ties", "fine-tuning"))
    rates, others = one.rates(experiment.seen), other.rates(experiment.seen)
    assert significance(rates, rates) == 1.0
    assert 0 < significance(rates, others) <= 1


@given(st.floats(0.001, 1), st.floats(0.001, 1))
def test_the_relative_reduction_is_zero_for_equal_wers_and_one_for_no_errors(wer, reference):
    assert relative_reduction(reference, reference) == 0
    assert math.isclose(relative_reduction(0, reference), 1)
    assert (relative_reduction(wer, reference) > 0) == (wer < reference)


def test_coverage_is_zero_for_fine_tuning_and_one_for_separate_models():
    assert coverage(0.3, 0.3, 0.1) == 0
    assert coverage(0.1, 0.3, 0.1) == pytest.approx(1)
    with pytest.raises(ValueError, match="no lower WER"):
        coverage(0.2, 0.1, 0.1)


def test_a_reduction_of_a_wer_of_0_is_undefined():
    assert relative_reduction(0.1, 0) is None


def test_a_run_in_which_fine_tuning_makes_no_errors_has_a_summary_with_dashes(experiment, out):
    perfect = errors(us=0, scotland=0, india=0, never=0)
    write(out, "fine-tuning", perfect, perfect)
    ties = write_results(experiment, out)["methods"]["ties"]
    assert (ties["werr"], ties["werr_all"]) == (None, None)
    row = next(line for line in (out / "summary.md").read_text("utf-8").splitlines() if line.startswith("| ties |"))
    assert row.split(" | ")[3:5] == ["\N{EN DASH}"] * 2
