"""`asr-edge model` in the process of the tests; pulling from a hub is in tests/device_app/models."""

import json

from tests.command_line import call


def test_the_model_in_use_is_marked(own_home, tiny_bundle):
    assert call("model", "list").stdout.startswith("embedded          in use; moonshine, en, ")
    done = call("model", "use", tiny_bundle.folder)
    assert "is in use; its edits are its own" in done.stdout
    first, second = call("model", "list").stdout.splitlines()
    assert "in use" not in first
    assert second.startswith(f"{tiny_bundle.folder}  in use; {tiny_bundle.family}, ")
    call("model", "use", "embedded")
    (embedded,) = json.loads(call("model", "list", "--json").stdout)
    assert (embedded["name"], embedded["in_use"]) == ("embedded", True)


def test_a_damaged_model_is_named_and_the_others_are_listed(own_home):
    folder = own_home / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{")
    done = call("model", "list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["embedded"]
    assert f"! {folder / 'model.json'}: cannot be read" in done.stderr


def test_fits_has_a_line_for_each_model_that_can_be_installed(own_home, transcriber):
    done = call("model", "list", "--fits", "--json")
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert found["embedded"]["is_installed"]
    assert all(min(one["rtf"], one["memory_mb"], one["adaptation_s"]) > 0 for one in found.values())
    assert found["embedded"]["rtf"] < found["moonshine-base"]["rtf"]
    table = call("model", "list", "--fits")
    assert "real-time factor" in table.stdout
    assert all(name in table.stdout for name in found)
    assert "'asr-edge convert FOLDER' a downloaded Whisper model" in table.stderr


def test_nothing_is_installed_without_consent(own_home, bundle, tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "moonshine", **bundle.config}))
    (folder / "README.md").write_text("---\nlicense: other\nlanguage: xx\n---\n")
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "tokenizer.json").write_bytes(bundle.path("tokenizer.json").read_bytes())
    done = call("model", "pull", "mine", "--from", folder, stdin=b"n\n", code=1)
    assert f"{folder}: language xx, licence other" in done.stderr
    assert "not known that this licence allows every use" in done.stderr
    assert not (own_home / "models").exists()
