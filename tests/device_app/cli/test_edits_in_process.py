"""adapt and the commands that show and change edits, with a stand-in for fine-tuning: output and ledger."""

import json
import re
from dataclasses import replace

import pytest

from device_app.adaptation import changes
from device_app.audio.samples import read
from device_app.data.names import GUARD_SET
from device_app.data.recordings import recording_of
from device_app.data.store import Store
from device_app.data.utterance import Utterance
from device_app.models.bundles import find_bundle
from device_app.models.ledger import Ledger
from editing.errors import StorageError
from editing.task_vector import TaskVector
from tests.device_app.cli.conftest import call
from tests.device_app.cli.letters import write_spelled

ADAPT = ("adapt", "--domain", "codes", "--model", "tiny", "--density", "1")
WHOLE = (*ADAPT, "--lambda", "1")


def ledger():
    return Ledger(find_bundle("tiny"))


def wer(manifest, *more):
    return json.loads(call("evaluate", manifest, "--model", "tiny", "--json", *more).stdout)["basic"]["wer"]


# adapt


def test_an_edit_that_helps_is_promoted(home_of_tiny, teacher, spelled):
    before = wer(spelled)
    done = call(*WHOLE, "--epochs", 3, "--scope", "decoder", "--augment", "--seed", 7)
    assert done.stdout.endswith("The new version is active, with edit 1; 'asr-edge revert 1' undoes it.\n")
    assert re.search(r"^codes +\d", done.stdout, re.MULTILINE)
    assert re.search(rf"^{GUARD_SET} +\d", done.stdout, re.MULTILINE)
    assert "Fine-tuning on " in done.stderr
    (asked,) = teacher.asked
    assert (asked.epochs, asked.scope, asked.augment, asked.seed) == (3, "decoder", True, 7)
    assert ledger().current.id == 1
    assert wer(spelled) < 0.5 * before
    assert wer(spelled, "--version", 0) == before
    assert list((home_of_tiny / "training").iterdir()) == []  # checkpoints


def test_status_shows_the_error_rates_before_and_after_an_edit(home_of_tiny, teacher, spelled):
    before = call("status", "--model", "tiny").stdout
    assert re.search(r"^codes +\d", before, re.MULTILINE)
    assert "The model is as it was installed" in before
    call(*WHOLE)
    after = call("status", "--model", "tiny").stdout
    assert re.search(r"^codes +\d+ +\d+ +[\d.]+ +[\d.]+% +[\d.]+%$", after, re.MULTILINE)
    assert re.search(r"^\(general speech\) +[\d.]+% +[\d.]+%$", after, re.MULTILINE)
    assert "The model is as it was installed" not in after


def test_an_edit_that_changes_nothing_is_rejected(home_of_tiny, teacher):
    done = call(*ADAPT, "--lambda", "0", code=3)
    assert "! codes is not recognised better" in done.stderr
    assert "The new version was rejected. Edit 1 is saved: 'asr-edge reweight 1" in done.stderr
    assert ledger().current.id == 0
    assert len(ledger().edits) == 1
    assert "kept out" in call("log", "--model", "tiny").stdout
    assert "kept out: codes is not recognised better" in call("show", "1", "--model", "tiny").stdout


def test_force_promotes_what_the_gate_rejects(home_of_tiny, teacher):
    done = call(*ADAPT, "--lambda", "0", "--force")
    assert "The new version is active, with edit 1;" in done.stdout
    assert ledger().edits[0].reasons == []


def test_a_dry_run_changes_nothing(home_of_tiny, teacher):
    done = call(*WHOLE, "--dry-run")
    assert "The new version would become active; nothing was changed (--dry-run)." in done.stdout
    assert (ledger().edits, ledger().current.id) == ([], 0)


def test_a_dry_run_that_the_gate_rejects_promises_no_edit(home_of_tiny, teacher):
    done = call(*ADAPT, "--lambda", "0", "--dry-run", code=3)
    assert "! codes is not recognised better" in done.stderr
    assert "The gate would reject the new version (--dry-run; nothing was saved)." in done.stderr
    assert "reweight" not in done.stderr
    assert (ledger().edits, ledger().current.id) == ([], 0)
    assert list(ledger().folder.glob("vectors/*")) == []


def test_the_json_document_of_an_adaptation(home_of_tiny, teacher):
    record = json.loads(call(*WHOLE, "--epochs", 4, "--json").stdout)
    assert (record["promoted"], record["passes"], record["reasons"], record["version"]) == (True, True, [], 1)
    assert record["domains"].keys() == {"codes", GUARD_SET}
    assert record["domains"]["codes"]["difference"] < 0
    assert len(record["losses"]) == 4
    assert record["norm"] > 0
    assert record["edit"]["settings"] == {"lam": 1.0, "density": 1.0, "scope": "tensor"}


def test_lambda_auto_evaluates_candidates_and_plots_them(home_of_tiny, teacher, few_candidates):
    pytest.importorskip("matplotlib")
    done = call("adapt", "--domain", "codes", "--model", "tiny", "--lambda", "auto", "--method", "task_arithmetic")
    assert "<- chosen" in done.stdout
    assert re.search(r"^ +0\.2 ", done.stdout, re.MULTILINE)
    assert re.search(r"^ +1\.0 .*<- chosen$", done.stdout, re.MULTILINE)
    picture = ledger().folder / "frontier-1.png"
    assert f"Plot of the sweep: {picture}" in done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert ledger().edits[0].settings["lam"] == 1.0


def test_a_disk_that_is_full_after_a_promotion_does_not_hide_the_verdict(home_of_tiny, teacher, monkeypatch):
    """An abandoned task vector cannot be moved into quarantine."""
    (ledger().folder / "vectors").mkdir(parents=True)
    (ledger().folder / "vectors" / f"{'0' * 64}.safetensors").write_bytes(b"abandoned")

    def full(*_arguments):
        raise StorageError("no space left")

    monkeypatch.setattr("device_app.models.ledger_files.LedgerFiles.move_into_quarantine", full)
    assert "The new version is active, with edit 1;" in call(*WHOLE).stdout


def test_the_tolerance_replay_and_orthography_reach_the_plan(home_adapted, teacher, spelled):
    call("import", spelled, "--domain", "more")
    done = call(
        *("adapt", "--domain", "more", "--model", "tiny", "--lambda", "0", "--replay", "3", "--json"),
        *("--orthography", "learn", "--tolerance", "100", "--force"),
    )
    assert json.loads(done.stdout)["domains"].keys() == {"more", "codes", GUARD_SET}
    with Store() as store:
        fresh = sum(u.split == "train" for u in store.utterances("more"))
    assert len(teacher.training_sets[0].training) == fresh + 3


def test_nothing_to_gain_is_said_before_the_fine_tuning(home_adapted, teacher, spelled):
    call("import", spelled, "--domain", "more")
    done = call("adapt", "--domain", "more", "--model", "tiny", code=1)
    assert "more: the active model makes no error on its 3 held-out utterances" in done.stderr
    assert teacher.asked == []
    more = [step for step in status_of_tiny()["next"] if step["command"].endswith(" --domain more")]
    assert [step["command"] for step in more] == ["asr-edge record --domain more"]
    assert "record what it gets wrong" in more[0]["reason"]
    call("label", "set", _utterances("more")[0].number, "another text", "--no-term")
    assert "asr-edge adapt --domain more" in [step["command"] for step in status_of_tiny()["next"]]


def status_of_tiny():
    return json.loads(call("status", "--model", "tiny", "--json").stdout)


@pytest.fixture
def interrupt(teacher, monkeypatch):
    """Calls `adapt` and kills it after a checkpoint."""

    def killed(*arguments, **options):
        teacher(*arguments, **options)  # writes a checkpoint
        raise KeyboardInterrupt

    def run(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr("trainer.training.finetuning.finetune_for_training_set", killed)
            return call(*arguments, code=130)

    return run


def test_status_tells_of_an_adaptation_that_was_interrupted(home_of_tiny, teacher, interrupt, monkeypatch):
    monkeypatch.setattr("device_app.cli.terminal.progress.LINE_S", 0.0)
    lines = interrupt(*WHOLE).stderr.splitlines()
    assert "fine-tuning: 100%, epoch 2, loss 0.500" in lines  # without a terminal
    assert status_of_tiny()["interrupted"] == ["codes"]
    shown = call("status", "--model", "tiny").stdout
    assert "An adaptation to codes was interrupted" in shown
    assert re.search("  asr-edge adapt --domain codes +continue the adaptation that was interrupted", shown)
    call(*WHOLE, "--dry-run")
    assert status_of_tiny()["interrupted"] == []


def test_two_interrupted_adaptations_both_continue(home_of_tiny, teacher, spelled, interrupt):
    """The one that ends first leaves the checkpoint of the other, which only another version cannot continue."""
    call("import", spelled, "--domain", "more")
    more = ("adapt", "--domain", "more", "--model", "tiny", "--density", "1", "--lambda", "1")
    interrupt(*more)
    interrupt(*WHOLE)
    assert status_of_tiny()["interrupted"] == ["codes", "more"]
    shown = call("status", "--model", "tiny").stdout
    assert "An adaptation to codes was interrupted" in shown
    assert "An adaptation to more was interrupted" in shown
    call(*ADAPT, "--lambda", "0", code=3)  # rejected
    assert status_of_tiny()["interrupted"] == ["more"]
    assert len(list((home_of_tiny / "training").glob("*.safetensors"))) == 1
    call(*WHOLE)  # a new version, from which the other would have to begin anew
    assert status_of_tiny()["interrupted"] == []
    call("rollback", "--model", "tiny")
    assert status_of_tiny()["interrupted"] == ["more"]
    call(*more)
    assert list((home_of_tiny / "training").iterdir()) == []


def test_recordings_of_the_guard_set_are_not_trained_on(home_of_tiny, teacher):
    first = next(one for one in _utterances() if one.split == "train")
    with Store() as store:
        store.add(
            [Utterance(domain=GUARD_SET, text=first.text, recording=recording_of(read(first.audio)), split="test")]
        )
    done = call(*WHOLE, "--dry-run")
    assert "1 recording of codes left out, because the guard set has the same." in done.stderr
    assert first.audio not in [one.audio for one in teacher.training_sets[0].training]
    assert "general speech" not in [one["domain"] for one in status_of_tiny()["domains"]]


def test_a_real_fine_tuning_from_the_command_line(home_of_tiny, monkeypatch):
    from trainer.training import finetuning

    monkeypatch.setattr(finetuning, "load_distillation_set", lambda *_arguments: [])
    done = call(*WHOLE, "--epochs", "1", "--force", "--json")
    record = json.loads(done.stdout)
    assert len(record["losses"]) == 1
    assert record["norm"] > 0
    assert ledger().edits[0].utterances == len([u for u in _utterances() if u.split == "train"])


def _utterances(domain="codes"):
    with Store() as store:
        return list(store.utterances(domain))


def test_progress_of_a_fine_tuning_at_a_terminal(home_of_tiny, teacher):
    done = call(*WHOLE, "--dry-run", terminal=True)
    assert "Fine-tuning on" in done.stderr


def test_without_torch_the_error_names_the_extra(home_of_tiny, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    done = call(*ADAPT, code=1)
    assert "pip install '.[train]'" in done.stderr


# log, show, report


def test_log_lists_edits_and_the_active_version(home_adapted):
    done = call("log", "--model", "tiny")
    head, row, last = done.stdout.splitlines()
    assert head.split()[:2] == ["edit", "state"]
    assert "active" in row
    assert row.split()[-2] == "1"  # lambda
    assert "ties lambda 1 density 1" in call("show", 1, "--model", "tiny").stdout
    assert len(row) <= 80
    assert last == "Active: edit 1."
    record = json.loads(call("log", "--model", "tiny", "--json").stdout)
    assert record["current"] == 1
    assert [version["why"] for version in record["versions"]] == ["the base model", "adapt codes"]
    assert record["edits"][0]["state"] == "active"
    assert record["edits"][0]["bytes"] > 0


def test_log_without_an_edit(empty_home):
    assert call("log").stdout == "The base model, without edits. 'asr-edge adapt' makes one.\n"


def test_show_describes_one_edit(home_adapted):
    shown = call("show", 1, "--model", "tiny").stdout
    assert shown.startswith("Edit 1 (active): adapt codes, ")
    assert "  WER of codes: " in shown
    assert "'asr-edge revert 1' removes it" in shown
    assert "task vector" not in shown
    details = call("show", 1, "--details", "--model", "tiny").stdout
    assert re.search(r"task vector: norm \d", details)
    assert "▇" in details
    record = json.loads(call("show", 1, "--model", "tiny", "--json").stdout)
    assert record["task_vectors"][0]["domain"] == "codes"
    assert record["state"] == "active"


def test_show_tells_what_the_ledger_knows_of_an_edit_whose_task_vector_is_missing(home_adapted):
    now = ledger()
    now.vector_path(now.edit(1).vectors[0]).unlink()
    shown = call("show", 1, "--details", "--model", "tiny").stdout
    assert "  WER of codes: " in shown
    assert re.search(r"  ! .*: is missing; 'asr-edge doctor'", shown)
    record = json.loads(call("show", 1, "--model", "tiny", "--json").stdout)
    assert (record["task_vectors"], len(record["problems"])) == ([], 1)


def test_report_gives_the_matrix_and_a_picture(home_adapted, tmp_path):
    pytest.importorskip("matplotlib")
    done = call("report", "--model", "tiny", "--picture", tmp_path / "matrix.svg")
    assert "average WER now: " in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[:3]] == ["version", "0", "1"]
    assert "<svg" in (tmp_path / "matrix.svg").read_text()
    record = json.loads(call("report", "--model", "tiny", "--json").stdout)
    assert record["domains"] == ["codes", GUARD_SET]
    assert record["versions"][1]["wer"]["codes"] == record["average_wer"] < record["versions"][0]["wer"]["codes"]
    assert "backward_transfer" not in record


def test_report_as_html(home_adapted, tmp_path):
    call("report", "--model", "tiny", "--html", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "<b>codes</b>: " in page
    assert "asr-edge revert 1" in page
    assert "the report's name must end in .html or .htm" in call("report", "--html", tmp_path / "a.txt", code=1).stderr


def test_report_after_a_rollback_to_the_base(home_adapted, tmp_path):
    call("rollback", "--model", "tiny")
    call("report", "--model", "tiny", "--html", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("No edit is in use.") == 1
    assert "The model is as it was installed." in page


def test_report_of_a_model_without_domain_and_guard_set(home_of_tiny, tmp_path, monkeypatch):
    """Such as one of another language than English, for which no general speech is bundled."""
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("device_app.adaptation.test_sets.guard_set", lambda _language: [])
    done = call("report", "--model", "tiny", "--html", tmp_path / "r.html", "--picture", tmp_path / "r.png")
    assert "There are no recordings to measure the model on." in (tmp_path / "r.html").read_text("utf-8")
    assert "There is nothing to draw: there are no test recordings." in done.stderr
    assert not (tmp_path / "r.png").exists()
    assert json.loads(call("report", "--model", "tiny", "--json").stdout)["domains"] == []


def test_report_of_two_domains_has_transfer(home_adapted, teacher, spelled):
    call("import", spelled, "--domain", "more")
    call("adapt", "--domain", "more", "--model", "tiny", "--lambda", "0", "--force")
    shown = call("report", "--model", "tiny").stdout
    assert "backward transfer (negative is forgetting): +0.0 points" in shown
    assert "forward transfer: " in shown


def test_report_of_the_base_alone(home_of_tiny):
    record = json.loads(call("report", "--model", "tiny", "--json").stdout)
    assert (record["domains"], len(record["versions"])) == ([GUARD_SET], 1)
    assert "average_wer" not in record


# revert, reweight, rollback


def test_revert_and_rollback_change_the_active_version(home_adapted, spelled):
    edited, base = wer(spelled), wer(spelled, "--version", 0)
    done = call("revert", 1, "--model", "tiny")
    assert done.stdout == "Edit 1 is reverted; 'asr-edge reweight 1' restores it. Active: the base model, no edits.\n"
    assert wer(spelled) == base
    assert "reverted" in call("log", "--model", "tiny").stdout
    done = call("rollback", "--model", "tiny")
    assert done.stdout == "Undone: revert 1. Active: edit 1.\n"
    assert wer(spelled) == edited


def test_a_revert_promises_no_restore_of_an_edit_whose_task_vector_is_missing(home_adapted):
    now = ledger()
    now.vector_path(now.edit(1).vectors[0]).unlink()
    done = call("revert", 1, "--model", "tiny")
    assert "Edit 1 is reverted; it cannot be restored without its task vector" in done.stdout


def test_the_json_of_an_edit_has_the_settings_and_figures_that_the_tables_show(home_adapted):
    call("reweight", 1, "--model", "tiny", "--lambda", "0.5", "--force")
    shown = json.loads(call("show", 1, "--model", "tiny", "--json").stdout)
    (logged,) = json.loads(call("log", "--model", "tiny", "--json").stdout)["edits"]
    assert shown["effect"] == logged["effect"]
    assert (shown["effect"]["settings"]["lam"], shown["settings"]["lam"]) == (0.5, 1)
    assert (
        f"WER of codes: {shown['effect']['before']['codes']:.1%} -> {shown['effect']['after']['codes']:.1%}"
        in call("show", 1, "--model", "tiny").stdout
    )


def test_an_interrupted_reweight_says_that_nothing_was_changed(home_adapted, monkeypatch):
    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(changes, "judge_draft", interrupted)
    assert "Interrupted; nothing was changed.\n" in call("reweight", 1, "--model", "tiny", code=130).stderr


def test_reweight_changes_the_lambda_of_an_edit(home_adapted):
    done = call("reweight", 1, "--model", "tiny", "--lambda", "0.9")
    assert done.stdout.endswith("The new version is active, with edit 1; 'asr-edge rollback' undoes it.\n")
    assert call("log", "--model", "tiny").stdout.splitlines()[1].split()[-2] == "0.9"
    assert ledger().current.applied[0].settings["lam"] == 0.9


def test_reweight_by_layers_and_above_1_warns(home_adapted):
    done = call("reweight", 1, "--model", "tiny", "--lambda", "encoder=0.5,*=1.5", "--force")
    assert "A lambda above 1 (here encoder=0.5,*=1.5)" in done.stderr
    assert ledger().current.applied[0].settings["lam"] == {"encoder": 0.5, "*": 1.5}
    assert " encoder=0.5,*=1.5 " in call("log", "--model", "tiny").stdout


def test_reweight_in_a_dry_run_and_of_a_reverted_edit(home_adapted):
    assert "--dry-run" in call("reweight", 1, "--model", "tiny", "--lambda", "0.9", "--dry-run").stdout
    assert ledger().current.id == 1
    call("revert", 1, "--model", "tiny")
    done = call("reweight", 1, "--model", "tiny", "--lambda", "0", code=3)  # a new edit must help
    assert "The new version was rejected; the same command with --force promotes it regardless." in done.stderr
    assert json.loads(call("reweight", 1, "--model", "tiny", "--density", "1", "--json").stdout)["promoted"]
    assert ledger().is_applied(1)


# vector, merge, export


def test_a_vector_is_exported_here_and_imported_elsewhere(home_adapted, known_home, tmp_path, monkeypatch, spelled):
    import shutil

    file = tmp_path / "codes.safetensors"
    exported = call("vector", "export", 1, file, "--model", "tiny").stdout
    assert re.fullmatch(r".*codes\.safetensors: 0\.\d MB, \d+% of the entries\n", exported)
    assert "already exists" in call("vector", "export", 1, file, "--model", "tiny", code=1).stderr
    edited = wer(spelled)
    shutil.copytree(known_home, tmp_path / "other")
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "other"))
    done = call("vector", "import", file, "--model", "tiny", "--lambda", "1", "--density", "1")
    assert "The new version is active, with edit 1;" in done.stdout
    assert ledger().edits[0].kind == "import"
    assert wer(spelled) == edited


def test_a_trimmed_copy_of_an_active_vector_is_named_because_it_counts_twice(home_adapted, tmp_path):
    file = tmp_path / "codes.safetensors"
    call("vector", "export", 1, file, "--density", "0.9", "--model", "tiny")
    repeated = "have task vectors of the same fine-tuning, on codes: its effect is applied twice. 'asr-edge revert'"
    assert f"! edits 1 and 2 {repeated}" in call("vector", "import", file, "--model", "tiny", "--force").stderr
    call("revert", 1, "--model", "tiny")
    assert f"! edits 2 and 1 {repeated}" in call("reweight", 1, "--model", "tiny", "--force").stderr
    assert "fine-tuning" not in call("merge", 1, 2, "--model", "tiny", "--force").stderr


def test_an_imported_vector_that_is_in_use_replaces_its_edit(home_adapted):
    """A revert would not bring that edit back."""
    file = ledger().vector_path(ledger().edit(1).vectors[0])
    done = call("vector", "import", file, "--model", "tiny", "--lambda", "0.9", "--density", "1", "--force")
    assert "fine-tuning" not in done.stderr
    assert done.stdout.endswith(
        "The new version is active, with edit 2 in place of edit 1; 'asr-edge rollback' undoes it.\n"
    )
    assert states() == ["reverted", "active"]


def test_a_vector_can_be_trimmed_when_it_is_exported(home_adapted, tmp_path):
    file = tmp_path / "few.safetensors"
    call("vector", "export", 1, file, "--model", "tiny", "--density", "0.01")
    vector = TaskVector.load(file)
    assert vector.density < 0.02
    assert (vector.origin.method, vector.origin.density) == ("trim", 0.01)
    assert vector.origin.scores.keys() == {"codes", GUARD_SET}
    shown = call("vector", "show", file).stdout
    assert re.search(r"^domain +codes$", shown, re.MULTILINE)
    assert "layers" not in shown
    record = json.loads(call("vector", "show", file, "--json").stdout)
    assert record["domain"] == "codes"
    assert record["layers"]


def test_an_import_in_a_dry_run_and_one_that_is_rejected(home_adapted, tmp_path):
    file = tmp_path / "codes.safetensors"
    call("vector", "export", 1, file, "--model", "tiny")
    call("revert", 1, "--model", "tiny")
    take = ("vector", "import", file, "--model", "tiny", "--density", "1")
    call(*take, "--lambda", "1", "--dry-run")
    assert len(ledger().edits) == 1
    assert json.loads(call(*take, "--lambda", "0", "--json", code=3).stdout)["promoted"] is False
    assert ledger().edits[1].reasons


def states():
    return [edit["state"] for edit in json.loads(call("log", "--model", "tiny", "--json").stdout)["edits"]]


def test_a_merge_replaces_the_merged_edits(home_adapted, tmp_path):
    file = tmp_path / "codes.safetensors"
    call("vector", "export", 1, file, "--density", "0.9", "--model", "tiny")
    first = json.loads(call("status", "--model", "tiny", "--json").stdout)
    done = call("merge", 1, file, "--model", "tiny", "--lambda", "1", "--density", "1", "--json")
    record = json.loads(done.stdout)
    assert record["edit"]["kind"] == "merge"
    assert len(record["edit"]["vectors"]) == 2
    edits = json.loads(call("log", "--model", "tiny", "--json").stdout)["edits"]
    assert [edit["state"] for edit in edits] == ["merged", "active"]
    now = json.loads(call("status", "--model", "tiny", "--json").stdout)
    before = [one["wer_before"] for one in now["domains"]], now["general_before"]
    assert before == ([one["wer_before"] for one in first["domains"]], first["general_before"])
    assert "It is a part of edit 2." in call("show", "1", "--model", "tiny").stdout
    assert "edit 1 is only a part of edit 2; revert that one" in call("revert", 1, "--model", "tiny", code=1).stderr
    twice = call("reweight", 1, "--model", "tiny", "--lambda", "1", code=1)  # its vector would be applied twice
    assert "edit 2, which is active, has one of these task vectors already; nothing was changed. Revert" in twice.stderr
    stored = {*ledger().files.vectors.glob("*")}
    call("vector", "import", ledger().vector_path(ledger().edit(1).vectors[0]), "--model", "tiny", code=1)
    assert {*ledger().files.vectors.glob("*")} == stored
    assert (
        "It was a merge. 'asr-edge reweight N' adds one of its parts alone: 1."
        in call("revert", 2, "--model", "tiny").stdout
    )
    call("reweight", 1, "--model", "tiny", "--force")
    assert states() == ["active", "reverted"]
    call("reweight", 2, "--model", "tiny", "--force")  # replaces what it contains
    assert states() == ["merged", "active"]
    call("reweight", 2, "--model", "tiny", "--lambda", "0.5", "--force")
    done = call("merge", 1, file, "--model", "tiny", "--lambda", "0.7", "--density", "1", "--force")
    assert "with edit 3 in place of edit 2; 'asr-edge rollback' undoes it" in done.stdout
    assert states() == ["merged", "reverted", "active"]
    call("rollback", "--model", "tiny")
    assert states() == ["merged", "active", "reverted"]
    done = call("vector", "export", 2, tmp_path / "merged.safetensors", "--model", "tiny", code=1)
    assert "is a merge of several vectors" in done.stderr


def test_a_merge_of_inactive_edits_is_measured_on_their_domains(home_adapted, tmp_path):
    """Only general speech was."""
    call("vector", "export", 1, tmp_path / "codes.safetensors", "--density", "0.9", "--model", "tiny")
    call("revert", 1, "--model", "tiny")
    merge = ("merge", 1, tmp_path / "codes.safetensors", "--model", "tiny", "--lambda", "1", "--density", "1", "--json")
    assert "codes" in json.loads(call(*merge).stdout)["domains"]
    call("revert", 2, "--model", "tiny")
    assert "codes" in json.loads(call("reweight", 2, "--model", "tiny", "--dry-run", "--json").stdout)["domains"]


def test_a_smaller_lambda_is_accepted_although_the_domain_gains_less(home_adapted):
    assert json.loads(call("reweight", 1, "--model", "tiny", "--lambda", "0", "--json").stdout)["promoted"]


def test_a_vector_of_a_reserved_domain_is_refused(home_adapted, tmp_path):
    """Its domain was the guard set, whose regressions were not counted then."""
    call("vector", "export", 1, tmp_path / "codes.safetensors", "--model", "tiny")
    vector = TaskVector.load(tmp_path / "codes.safetensors")
    replace(vector, origin=replace(vector.origin, domain="general speech")).save(tmp_path / "renamed.safetensors")
    done = call("vector", "import", tmp_path / "renamed.safetensors", "--model", "tiny", code=1)
    assert "its domain is called 'general speech', like the recordings that every edit is checked on" in done.stderr


def test_a_merge_uses_the_chosen_method_and_its_settings(home_adapted, tmp_path):
    file = tmp_path / "codes.safetensors"
    call("vector", "export", 1, file, "--density", "0.9", "--model", "tiny")
    settings = ("--method", "magnitude_prune", "--lambda", "0.5", "--density", "0.9")
    edit = json.loads(call("merge", 1, file, "--model", "tiny", *settings, "--force", "--json").stdout)["edit"]
    assert edit["method"] == "magnitude_prune"
    assert (edit["settings"]["lam"], edit["settings"]["density"]) == (0.5, 0.9)


def test_a_merge_that_breaks_a_domain_is_rejected(home_adapted, tmp_path):
    file = tmp_path / "codes.safetensors"
    call("vector", "export", 1, file, "--density", "0.9", "--model", "tiny")
    merge = ("merge", 1, file, "--model", "tiny", "--lambda", "0")
    assert "codes is recognised worse" in call(*merge, code=3).stderr
    assert ledger().current.id == 1
    call(*merge, "--force")
    assert ledger().current.id == 2


@pytest.mark.parametrize(
    ("more", "files"),
    [
        ((), {"LICENSE", "int8/ctc.onnx", "model.json", "tokenizer.json"}),
        (("--precision", "fp32"), {"LICENSE", "fp32/ctc.onnx", "model.json", "tokenizer.json"}),
        (("--layout", "nemo"), {"LICENSE", "config.json", "model.int8.onnx", "tokens.txt", "vocab.txt"}),
    ],
)
def test_a_version_is_exported_as_onnx_files(home_adapted, tmp_path, more, files):
    out = tmp_path / "out"
    done = call("export", "--out", out, "--model", "tiny", *more)
    written = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {line.split()[-1] for line in done.stdout.splitlines()} == {str(out / name) for name in written}
    assert files <= written
    assert "already in use" in call("export", "--out", out, "--model", "tiny", code=1).stderr


def test_an_exported_version_gives_the_same_transcripts(home_adapted, tmp_path):
    recording = write_spelled(tmp_path / "a.wav", "fiomf")
    texts = {}
    for version in (0, 1):
        call("export", "--out", tmp_path / f"v{version}", "--model", "tiny", "--version", version)
        texts[version] = call("transcribe", recording, "--model", tmp_path / f"v{version}").stdout
    assert texts[1] == call("transcribe", recording, "--model", "tiny").stdout
    assert texts[0] != texts[1]


def test_a_task_vector_is_shown_with_units_and_without_empty_values(home_adapted):
    call("vector", "export", 1, "v.safetensors", "--model", "tiny")
    lines = dict(line.split(maxsplit=1) for line in call("vector", "show", "v.safetensors").stdout.splitlines())
    assert re.fullmatch(r"on +\d+ utterances, [\d.]+ min", lines["trained"])
    assert re.fullmatch(r"[\d.]+% of the entries", lines["nonzero"])
    assert lines["domain"] == "codes"
    assert "method" not in lines
    call("vector", "export", 1, "few.safetensors", "--density", "0.5", "--model", "tiny")  # with its WERs
    assert re.search(
        r"^WER +codes 0\.0%, general speech [\d.]+%$", call("vector", "show", "few.safetensors").stdout, re.M
    )
