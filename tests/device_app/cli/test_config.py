"""The settings file: options of commands, set once for all."""

import json

import pytest

from device_app.paths import RECORDINGS
from tests.command_line import call


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path))
    path = tmp_path / "settings.toml"
    return lambda text: path.write_text(text, "utf-8")


def test_without_a_file_its_path_and_an_example_are_shown(settings, tmp_path):
    done = call("config")
    assert f"Settings file: {tmp_path}/settings.toml" in done.stdout
    assert "[transcribe]" in done.stdout


def test_the_file_sets_options_and_the_command_line_comes_first(settings):
    settings("[terms.list]\njson = true\n[dataset.list]\njson = true\n")
    assert call("terms", "list").stdout == "[]\n"
    assert json.loads(call("config", "--json").stdout)["settings"]["terms"] == {"list": {"json": True}}
    settings('\N{ZERO WIDTH NO-BREAK SPACE}[transcribe]\nformat = "srt"\n')  # a byte order mark, as of Windows
    recording = RECORDINGS / "invalid.flac"
    assert "-->" in call("transcribe", recording).stdout
    assert "-->" not in call("transcribe", recording, "-f", "txt").stdout


@pytest.mark.parametrize("line", ["no-browser = true", "browser = false"])
def test_a_flag_is_set_by_either_of_its_names(settings, monkeypatch, line):
    opened = []
    monkeypatch.setattr("device_app.service.page.opening.start_service", lambda *_arguments: "http://127.0.0.1:8765/")
    monkeypatch.setattr("device_app.service.page.opening.open_browser", lambda url: opened.append(url) or True)
    settings(f"[open]\n{line}\n")
    assert call("open").stdout == "http://127.0.0.1:8765/\n"
    assert opened == []
    call("open", "--browser")
    assert len(opened) == 1


def test_all_mistakes_of_the_file_are_shown_together(settings):
    settings("[transcibe]\nbeam = 1\n[transcribe]\nbean = 1\nbeam = 0\n[adapt]\nlambda = 99\n")
    lines = call("config", code=1).stderr.splitlines()
    shown = [("'transcibe'",), ("--bean",), ("--beam:",), ("--lambda is 99",)]
    assert [all(part in line for part in parts) for line, parts in zip(lines, shown, strict=True)] == [True] * 4
    (line,) = call("terms", "list", code=1).stderr.splitlines()
    assert "'transcibe' is not a command" in line
    assert line.endswith("('asr-edge config' shows 3 more)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[transcibe]\nbeam = 1", "'transcibe' is not a command"),
        ("beam = 1", "'beam' is not a command"),
        ("transcribe = 1", "'transcribe' is not a command; a table is named after a command"),
        ("[transcribe]\nbean = 1", "transcribe has no option --bean"),
        ("[open]\nbrowser = true\nno-browser = true", "--no-browser: the same option is set twice, by two names"),
        ("[transcribe]\nbeam = 0", "transcribe --beam:"),
        ('[transcribe]\njobs = "many"', "transcribe --jobs:"),
        ("[transcribe]\nbeam = [1, 2]", "transcribe --beam is [1, 2]; expected a text or a number"),
        ('[transcribe]\ndomain = ["anna"]', "transcribe --domain is ['anna']; expected a text or a number"),
        ('[evaluate]\ndomain = "anna"', "evaluate --domain is 'anna'; expected a list of texts"),
        ("[evaluate]\ndomain = 3", "evaluate --domain is 3; expected a list of texts"),
        ("[transcribe]\nbeam = true", "transcribe --beam is True; expected a value, not true or false"),
        ('[terms.list]\njson = "yes"', "terms list --json is 'yes'; expected true or false"),
        ("[adapt]\nlambda = 99", "adapt: --lambda is 99.0; expected a number from -10 to 10"),
        ("[reweight]\nlambda = 99", "reweight: --lambda is 99.0"),
        ("[adapt]\nlambda = -1", "a negative lambda subtracts"),
        ("[adapt]\nlambda = [1]", "adapt --lambda is [1]; expected a text or a number"),
        ("[adapt]\ndensity = 5", "adapt: --density is 5; expected a number above 0"),
        ('[adapt]\nmethod = "x"', "adapt: there is no merge method 'x'"),
        ("[adapt]\nset = 5", "adapt --set is 5; expected a list of texts"),
        ('[adapt]\nmethod = "breadcrumbs"\nset = ["outliers=2"]', "adapt: --set outliers=2: outliers is 2.0"),
        ('[adapt]\nscope = "x"', "adapt --scope: 'x' is not one of 'acoustic'"),
        ('[adapt]\nseed = "x"', "adapt --seed: expected a whole number"),
        ("[transcribe", "not a settings file that can be read"),
        ("[record]\r\ndomain = anna  # hers\r\n", '); put texts in quotation marks: domain = "anna"\n'),
        ("[record]\ndomain = 2nd kitchen", '); put texts in quotation marks: domain = "2nd kitchen"\n'),
        ("[transcribe]\nsave = True", "); write it in small letters: save = true\n"),
        ("[transcribe]\nsilence = 0,5", "); correct or remove it\n"),
        ("a = " + "[" * 10_000, "not a settings file that can be read"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_before_anything_else(settings, text, message):
    settings(text)
    done = call("transcribe", "missing.wav", code=1)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert message in call("config", code=1).stderr
    assert call("transcribe", "--help").stdout
