"""The daily loop on the command line, each command in a process of its own."""

import json
import os
import re
import subprocess
import sys

import pytest

from device_app.adaptation.guard_set import guard_set
from tests.device_app.test_imports import BLOCK, FORBIDDEN

pytestmark = pytest.mark.slow  # each command loads a model: minutes in total


@pytest.fixture(scope="module")
def adapted(home, codes, transcriber, tmp_path_factory):
    """A data folder after `adapt --domain codes`: its path, and the JSON document that `adapt` printed."""
    import shutil

    folder = tmp_path_factory.mktemp("adapted")
    shutil.copytree(home / "baked", folder / "baked")
    call(folder, "import", codes, "--domain", "codes")
    done = call(folder, "adapt", "--domain", "codes", "--epochs", 6, "--json")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def call(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "device_app", *map(str, arguments)],
        env={**os.environ, "ASR_EDGE_HOME": str(folder), "COLUMNS": "120", "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


@pytest.fixture
def asr(adapted, tmp_path):
    """Calls the command line on a copy of the adapted data folder."""
    import shutil

    folder = tmp_path / "home"
    shutil.copytree(adapted[0], folder)

    def run(*arguments, code=0):
        done = call(folder, *arguments)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def test_adapt_reports_the_outcome(adapted):
    _, record = adapted
    assert record["promoted"]
    assert record["edit"]["domains"] == ["codes"]
    assert record["domains"]["codes"]["after"] < 0.5 * record["domains"]["codes"]["before"]
    assert record["domains"]["general speech"]["utterances"] == len(guard_set())
    assert 0 < len(record["losses"]) <= 6  # it may stop early


def test_log_show_and_report_agree(asr, adapted, tmp_path):
    after = adapted[1]["domains"]["codes"]["after"]
    shown = asr("log").stdout
    assert "active" in shown
    assert f"{after:.1%}" in shown
    assert json.loads(asr("log", "--json").stdout)["edits"][0]["after"]["codes"] == after
    assert "encoder.layers.0" in asr("show", 1, "--details").stdout
    assert json.loads(asr("show", 1, "--json").stdout)["task_vectors"][0]["domain"] == "codes"
    report = json.loads(asr("report", "--json", "--picture", tmp_path / "r.png").stdout)
    assert [row["why"] for row in report["versions"]] == ["the base model", "adapt codes"]
    assert report["versions"][1]["wer"]["codes"] == after == report["average_wer"]
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_word_error_rates_change_with_the_version(asr, codes):
    edited, base = (
        json.loads(asr("evaluate", codes, "--json", *more).stdout)["basic"]["wer"] for more in ([], ["--version", 0])
    )
    assert edited < 0.5 * base
    asr("revert", 1)
    assert json.loads(asr("evaluate", codes, "--json").stdout)["basic"]["wer"] == base
    assert "reverted" in asr("log").stdout
    assert "Active: edit 1." in asr("rollback").stdout
    assert json.loads(asr("evaluate", codes, "--json").stdout)["basic"]["wer"] == edited


def test_reweight_restores_a_reverted_edit_with_another_lambda(asr):
    asr("revert", 1)
    record = json.loads(asr("reweight", 1, "--lambda", 0.5, "--json").stdout)
    assert record["promoted"]
    assert re.search(r"active  codes .* 0\.5 ", asr("log").stdout)
    done = asr("reweight", 1, "--lambda", 0.4, "--density", 0.5, "--dry-run")
    assert "--dry-run" in done.stdout


def test_a_vector_is_imported_on_a_machine_without_torch(asr, adapted, home, codes, tmp_path):
    import shutil

    file = tmp_path / "codes.safetensors"
    kept = re.search(r"(\d+)% of the entries", asr("vector", "export", 1, file).stdout)
    assert 10 <= int(kept[1]) <= 20  # half of the trained entries, which are those of the encoder
    assert file.stat().st_size < 0.2 * 4 * 27.1e6
    asr("vector", "export", 1, file, code=1)
    assert json.loads(asr("vector", "show", file, "--json").stdout)["method"] == "trim"
    other = tmp_path / "other"
    shutil.copytree(home / "baked", other / "baked")
    code = BLOCK.format(forbidden=FORBIDDEN) + "from device_app.cli import main\nmain()"

    def without_torch(*arguments):
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env={**os.environ, "ASR_EDGE_HOME": str(other)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    done = without_torch("vector", "import", file, "--density", 1.0, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["promoted"]
    done = without_torch("evaluate", codes, "--json")
    assert json.loads(done.stdout)["basic"]["wer"] == pytest.approx(
        json.loads(asr("evaluate", codes, "--json").stdout)["basic"]["wer"], abs=0.02
    )
    done = without_torch("adapt", "--domain", "codes")
    assert done.returncode == 1
    assert "pip install '.[train]'" in done.stderr


def test_a_merge_replaces_the_merged_edits(asr, tmp_path):
    file = tmp_path / "codes.safetensors"
    asr("vector", "export", 1, file)
    record = json.loads(asr("merge", 1, file, "--method", "ties", "--lambda", 0.6, "--json").stdout)
    assert record["edit"]["kind"] == "merge"
    assert len(record["edit"]["vectors"]) == 2
    log = json.loads(asr("log", "--json").stdout)
    assert [edit["state"] for edit in log["edits"]] == ["merged", "active"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["revert", 7], "there is no edit 7"),
        (["show", 0], "there is no edit 0"),
        (["reweight", 1, "--lambda", "much"], "expected a number"),
        (["adapt", "--domain", "none"], "there is no domain 'none'"),
        (["adapt", "--domain", "codes", "--method", "mean"], "no merge method 'mean'"),
        (["merge", "1"], "two or more"),
        (["merge", "1", "nowhere.safetensors"], "no such file"),
        (["vector", "import", "nowhere.safetensors"], "no such file"),
        (["evaluate", "x.jsonl", "--version", 9], "no such manifest"),
        (["export", "--out", "x", "--version", 9], "there is no version 9"),
    ],
)
def test_errors_are_one_line(asr, arguments, reason):
    done = asr(*arguments, code=1)
    assert reason in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_lambda_above_1_warns(asr):
    assert "above 1" in asr("reweight", 1, "--lambda", 1.5, "--force").stderr


def test_a_version_can_be_exported(asr, codes, tmp_path):
    asr("export", "--out", tmp_path / "bundle")
    exported = json.loads(asr("evaluate", codes, "--json", "--model", tmp_path / "bundle").stdout)
    assert exported["basic"]["wer"] == json.loads(asr("evaluate", codes, "--json").stdout)["basic"]["wer"]


def test_a_full_disk_leaves_the_active_version_unchanged(adapted, tmp_path):
    import resource
    import shutil

    folder = tmp_path / "home"
    shutil.copytree(adapted[0], folder)
    shutil.rmtree(folder / "baked")  # so that something must be written
    before = (next((folder / "ledgers").iterdir()) / "ledger.json").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "device_app", "revert", "1"],
        env={**os.environ, "ASR_EDGE_HOME": str(folder)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert (next((folder / "ledgers").iterdir()) / "ledger.json").read_bytes() == before
