"""import, correct, label set, dataset, doctor and model: what is printed, and what the store holds then."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from device_app.cli import application
from device_app.data.store import Store
from device_app.models.ledger import Ledger
from device_app.paths import RECORDINGS
from tests.device_app.cli.conftest import call
from tests.device_app.cli.letters import write_spelled

MANIFEST = RECORDINGS / "manifest.jsonl"


@pytest.fixture
def four(empty_home):
    """A domain "prompts" of four utterances; the fifth recording of the manifest is too long."""
    call("import", MANIFEST, "--domain", "prompts", code=1)
    return empty_home


def utterances(domain=None):
    with Store() as store:
        return list(store.utterances(domain))


def test_import_tells_what_it_found_and_did(empty_home):
    done = call("import", MANIFEST, "--domain", "prompts", code=1)
    assert done.stdout == "4 imported (0.3 min), 0 of them without a text\n"
    assert "a manifest with 5 recordings" in done.stderr
    assert "1 too long:" in done.stderr
    assert len(utterances("prompts")) == 4
    again = json.loads(call("import", MANIFEST, "--domain", "prompts", "--json", code=1).stdout)
    assert (again["kind"], again["imported"], len(again["duplicates"])) == ("manifest", 0, 4)
    assert len(utterances("prompts")) == 4


def test_import_shows_a_few_of_many_that_cannot_be_read(empty_home, tmp_path):
    for number in range(7):
        (tmp_path / "in" / f"{number}.wav").parent.mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number}.wav").write_bytes(b"RIFF")
        (tmp_path / "in" / f"{number}.txt").write_text("text")
    done = call("import", tmp_path / "in", "--domain", "d", code=1)
    assert "7 cannot be read:" in done.stderr
    assert "and 2 more (--json lists all)" in done.stderr


def test_import_needs_a_domain_and_lowers_capitals(empty_home, tmp_path):
    for number in range(10):  # one recording, so that nine are duplicates
        write_spelled(tmp_path / "in" / f"{number}.wav", "fio")
        (tmp_path / "in" / f"{number}.txt").write_text("F I O")
    assert "names no domain" in call("import", tmp_path / "in", code=1).stderr
    assert utterances() == []
    assert "lower case" in call("import", tmp_path / "in", "--domain", "d").stderr
    assert [u.text for u in utterances("d")] == ["f i o"]


def test_correct_and_label_set_change_the_text(home_of_tiny, tmp_path):
    call("transcribe", "--save", write_spelled(tmp_path / "a.wav", "fio"), "--model", "tiny")
    (kept,) = utterances("my-speech")
    call("label", "set", kept.number, kept.hypothesis)
    assert (utterances("my-speech")[0].text, utterances("my-speech")[0].source) == (
        kept.hypothesis,
        "imported",
    )  # no correction
    assert call("label", "set", kept.number, "f i x").stdout == f"{kept.number}  my-speech  f i x\n"
    assert utterances("my-speech")[0].source == "corrected"
    assert call("correct", kept.number, "f i o").stdout == f"{kept.number}  my-speech  f i o\n"
    done = call("correct", "--last", "f i a", "--domain", "mail")
    assert done.stdout == f"{kept.number}  mail  f i a\n"
    assert [u.text for u in utterances("mail")] == ["f i a"]
    assert utterances("my-speech") == []


def test_dataset_lists_and_counts(four):
    (listed,) = json.loads(call("dataset", "list", "--json").stdout)
    assert (listed["domain"], listed["utterances"], listed["speakers"]) == ("prompts", 4, 1)
    head, row = call("dataset", "stats", "prompts").stdout.splitlines()
    assert head.split() == ["domain", "utterances", "unlabelled", "held", "out", "speakers", "minutes"]
    assert row.split()[:3] == ["prompts", "4", "0"]
    done = call("dataset", "show", "prompts", "--limit", 2)
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr == "There may be more: --after 2\n"
    shown = json.loads(call("dataset", "show", "prompts", "--after", 2, "--json").stdout)
    assert [one["id"] for one in shown] == [3, 4]


def test_an_empty_store_says_how_to_begin(empty_home):
    done = call("dataset", "list")
    assert (done.stdout, "asr-edge import" in done.stderr) == ("", True)


def test_dataset_renames_moves_and_deletes(four):
    call("dataset", "rename", "prompts", "phone")
    call("dataset", "move", 1, 2, "--to", "other")
    done = call("dataset", "delete", 1, stdin=b"n\n", code=1)
    assert "Delete 1 utterance and the audio?" in done.stderr
    assert len(utterances()) == 4
    assert call("dataset", "delete", 1, "--yes").stdout == "1 deleted\n"
    assert {u.domain for u in utterances()} == {"other", "phone"}
    assert call("dataset", "delete", "--domain", "phone", stdin=b"y\n").stdout.endswith("2 deleted\n")
    assert [u.number for u in utterances()] == [2]
    assert "name either" in call("dataset", "delete", code=1).stderr


def test_a_speaker_is_forgotten_with_the_sound(four):
    done = call("dataset", "forget", "--speaker", "allison", stdin=b"n\n", code=1)
    assert "Delete all utterances of allison (4)" in done.stderr
    assert len(utterances()) == 4
    assert call("dataset", "forget", "--speaker", "allison", "--yes").stdout == "4 deleted\n"
    assert [p for p in (four / "audio").rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("form", ["nemo", "audiofolder"])
def test_dataset_export_writes_what_others_read(four, form):
    done = call("dataset", "export", "--domain", "prompts", "--out", "out", "--format", form)
    assert done.stdout == "4 utterances in out\n"
    if form == "nemo":
        lines = [json.loads(line) for line in Path("out/manifest.jsonl").read_text().splitlines()]
        assert [line["audio_filepath"] == line["audio"] for line in lines] == [True] * 4
    else:
        with Path("out/metadata.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == 4
    source = Path("out/manifest.jsonl") if form == "nemo" else Path("out")
    assert call("import", source, "--domain", "copy").stdout.startswith("4 imported")


def test_doctor_finds_asks_mends_and_says(four):
    assert (
        call("doctor").stdout
        == "All recordings and texts are in order.\nThe edits and the model files made from them are in order.\n"
    )
    next((four / "audio").rglob("*.flac")).unlink()
    done = call("doctor", "--dry-run", code=1)
    assert "Utterances whose audio is missing (1)" in done.stdout
    assert len(utterances()) == 4
    assert json.loads(call("doctor", "--dry-run", "--json", code=1).stdout)["repaired"] is False
    refused = call("doctor", code=1)
    assert "Nothing was changed. 'asr-edge doctor --yes' repairs without asking." in refused.stderr
    assert len(utterances()) == 4
    assert "Repaired." in call("doctor", "--yes").stderr
    assert len(utterances()) == 3
    assert (four / "quarantine" / "utterances.jsonl").is_file()
    assert json.loads(call("doctor", "--json").stdout) == {"findings": [], "repaired": False}


# models


def test_models_are_listed(home_of_tiny):
    first, second = call("model", "list").stdout.splitlines()
    assert first.startswith("embedded ")
    assert second.split()[:2] == ["tiny", "conformer-ctc,"]
    records = json.loads(call("model", "list", "--json").stdout)
    assert [(one["name"], one["family"]) for one in records] == [("embedded", "moonshine"), ("tiny", "conformer-ctc")]
    assert records[1]["folder"] == str(home_of_tiny / "models" / "tiny")


@pytest.fixture(scope="module")
def checkpoint(bundle, tmp_path_factory):
    """The embedded model as the hub has it."""
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("checkpoint")
    save_file(bundle.weights(), folder / "model.safetensors")
    shutil.copyfile(bundle.folder / "tokenizer.json", folder / "tokenizer.json")
    rope = {"rope_theta": 10000.0, "partial_rotary_factor": 0.9}
    config = {key: value for key, value in bundle.config.items() if key != "rope_parameters"}
    (folder / "config.json").write_text(json.dumps({**config, **rope, "model_type": "moonshine"}))
    return folder


def test_a_model_is_pulled_from_a_folder_once(empty_home, checkpoint):
    done = call("model", "pull", "other", "--from", checkpoint, "--language", "de", "--yes")
    assert done.stdout == "other is installed; use it with --model other, or always: asr-edge model use other\n"
    assert done.stderr == (
        f"{checkpoint}: language de, licence unknown\n"
        "It is not known that this licence allows every use. Read it before you use the model.\n"
    )
    assert (empty_home / "models" / "other" / "model.json").is_file()
    assert "already installed" in call("model", "pull", "other", "--from", checkpoint, code=1).stderr
    assert call("model", "use", "other").stdout.startswith("other (de) is in use")
    assert "other             in use; moonshine, de," in call("model", "list").stdout


def test_no_model_is_installed_without_consent(empty_home, checkpoint):
    refused = call("model", "pull", "other", "--from", checkpoint, stdin=b"n\n", code=1).stderr
    assert "Install this model?" in refused
    assert "does not say its language; en is assumed" in refused
    assert not (empty_home / "models").exists()


@pytest.mark.parametrize("name", ["../x", "a/../b", "a/embedded", "/b", "..", "embedded"])
def test_a_models_name_is_no_path(empty_home, checkpoint, name):
    assert "cannot be a model's name" in call("model", "pull", name, "--from", checkpoint, code=1).stderr
    assert not (empty_home / "models").exists()


# completion


def test_names_are_completed(home_adapted, monkeypatch):
    from device_app.cli import completion, jobs

    context = typer.Context(typer.main.get_command(application()))
    assert completion.complete_domain(context, "co") == ["codes"]
    assert completion.complete_domain(context, "x") == []
    assert completion.complete_model(context, "t") == ["tiny"]
    assert "ties" in completion.complete_method("ti")
    assert completion.complete_host(context, "h") == []
    assert completion.complete_edit(context, "") == []  # of the embedded model
    context.params["model"] = "tiny"
    assert completion.complete_edit(context, "") == ["1"]
    context.params["edit"] = "1"
    assert completion.complete_setting(context, "") == ["scope="]
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "edit", lambda ledger, number: replace(ledger.edits[number - 1], method="slerp"))
        assert completion.complete_setting(context, "") == ["place="]
    assert jobs._complete_job(context, "") == []


def test_completion_creates_no_store(empty_home):
    from device_app.cli import completion

    assert completion.complete_domain(typer.Context(typer.main.get_command(application())), "") == []
    assert not empty_home.exists()


def test_names_of_the_profile_are_completed_and_not_those_of_others(home_adapted):
    from device_app.cli import completion

    call("profile", "add", "bob")
    root = typer.main.get_command(application())
    context = root.make_context("asr-edge", ["--profile", "bob", "dataset"], resilient_parsing=True)
    inner = typer.Context(root, parent=context)
    assert completion.complete_domain(inner, "") == []
    write_spelled(Path("fio.wav"), "fio")
    call("--profile", "bob", "import", "fio.wav", "--domain", "bobs")
    assert completion.complete_domain(inner, "") == ["bobs"]
