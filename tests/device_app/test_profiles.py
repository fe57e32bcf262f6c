"""Profiles: several people on one machine, none of whom sees another's data."""

import json

import pytest

from device_app.data.recordings import recording_of
from device_app.data.store import Store
from device_app.data.utterance import Utterance
from tests.command_line import call
from tests.hostile.test_fuzz_readers import tone


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder of the profiles."""
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ASR_EDGE_PROFILE", raising=False)
    return tmp_path / "home-profiles"


def keep(profile, monkeypatch, text):
    with monkeypatch.context() as patch:
        patch.setenv("ASR_EDGE_PROFILE", profile)
        with Store() as store:
            store.add([Utterance(domain="my-speech", text=text, recording=recording_of(tone()))])


def texts(*options):
    return [one["text"] for one in json.loads(call(*options, "dataset", "show", "my-speech", "--json").stdout)]


def test_recordings_and_terms_of_a_profile_are_its_own(monkeypatch):
    for name in ("anna", "bo"):
        call("profile", "add", name)
        keep(name, monkeypatch, f"i am {name}")
        call("--profile", name, "terms", "add", f"{name}s-word")
    assert texts("--profile", "anna") == ["i am anna"]
    assert texts("--profile", "bo") == ["i am bo"]
    assert call("--profile", "anna", "terms", "export").stdout == "annas-word\n"
    assert json.loads(call("dataset", "list", "--json").stdout) == []
    assert call("profile", "list").stdout == "anna\nbo\n"


def test_the_environment_names_a_profile_too(monkeypatch):
    call("profile", "add", "anna")
    keep("anna", monkeypatch, "i am anna")
    monkeypatch.setenv("ASR_EDGE_PROFILE", "anna")
    assert texts() == ["i am anna"]


def test_only_the_owner_of_the_account_can_read_a_profile(folder):
    call("profile", "add", "anna")
    assert {path.stat().st_mode & 0o777 for path in (folder, folder / "anna")} == {0o700}


def test_a_backup_of_a_profile_is_restored_into_it_alone(monkeypatch, folder, tmp_path):
    for name in ("anna", "bo"):
        call("profile", "add", name)
        keep(name, monkeypatch, f"i am {name}")
    call("--profile", "anna", "backup", tmp_path / "anna.backup")
    call("--profile", "bo", "restore", tmp_path / "anna.backup", "--yes")
    assert texts("--profile", "bo") == texts("--profile", "anna") == ["i am anna"]
    assert call("profile", "list").stdout == "anna\nbo\n"


def test_restoring_the_main_data_leaves_the_profiles(monkeypatch, tmp_path):
    call("profile", "add", "anna")
    keep("anna", monkeypatch, "i am anna")
    call("terms", "add", "Huesca")
    call("backup", tmp_path / "main.backup")
    call("restore", tmp_path / "main.backup", "--yes")
    assert texts("--profile", "anna") == ["i am anna"]


@pytest.mark.parametrize("name", ["..", ".", "a/b", "", "none", "../profiles/anna", "/etc"])
def test_an_unknown_profile_is_refused_before_anything_else(name):
    call("profile", "add", "anna")
    done = call("--profile", name, "transcribe", "missing.wav", code=1)
    if name:
        assert done.stderr == f"asr-edge: there is no profile {name!r}; 'asr-edge profile add NAME' makes one\n"


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", " x", "x" * 101, "a\nb", "x.before-restore-1"])
def test_names_that_are_no_folders_are_refused(name, folder):
    assert call("profile", "add", "--", name, code=1).stderr.startswith("asr-edge: ")
    assert not folder.exists()


def test_a_profile_is_deleted_with_its_data_after_asking(monkeypatch, folder):
    call("profile", "add", "anna")
    keep("anna", monkeypatch, "i am anna")
    call("profile", "remove", "anna", stdin=b"n\n", code=1)
    assert texts("--profile", "anna") == ["i am anna"]
    call("profile", "remove", "anna", stdin=b"y\n")
    assert not (folder / "anna").exists()
    assert "there is no profile 'anna'" in call("profile", "remove", "anna", "--yes", code=1).stderr


def test_commands_in_messages_name_the_profile_that_the_option_chose(monkeypatch):
    call("profile", "add", "anna")
    assert "  asr-edge --profile anna record  " in call("--profile", "anna", "status").stdout
    assert "'asr-edge --profile anna adapt'" in call("--profile", "anna", "log").stdout
    assert "  asr-edge record  " in call("status").stdout
    monkeypatch.setenv("ASR_EDGE_PROFILE", "anna")  # then all commands use it
    assert "  asr-edge record  " in call("status").stdout
