"""Golden files of the command line: help, JSON documents, and errors.

If a difference is intended, `pytest tests/device_app/cli/test_golden.py --update-golden`
rewrites the files; review their diff.
"""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import save_file

from tests.device_app.cli.conftest import call
from tests.device_app.cli.golden import FOLDER, as_json, normalised
from tests.device_app.cli.letters import write_spelled
from tests.device_app.cli.test_cli import commands

PATHS = [(), *(path for path, _ in commands())]


def help_file(path):
    return f"help/{'-'.join(path) or 'asr-edge'}.txt"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: " ".join(path) or "asr-edge")
def test_help(path, golden):
    done = call(*path, "--help")
    assert done.stderr == ""
    golden(help_file(path), "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n")


def test_every_help_file_belongs_to_a_command():
    assert {f"help/{path.name}" for path in (FOLDER / "help").iterdir()} == {help_file(path) for path in PATHS}


# JSON

TINY = ("--model", "tiny")
DOCUMENTS = {
    "bench": ("bench", "long.wav", "--repeats", "1", *TINY),
    "dataset-show": ("dataset", "show", "codes", "--limit", "2"),
    "doctor": ("doctor", "--dry-run"),
    "evaluate": ("evaluate", "codes/manifest.jsonl", "--worst", "1", *TINY),
    "host-token-list": ("host", "token", "list"),
    "import": ("import", "codes/manifest.jsonl", "--domain", "again"),
    "jobs-empty": ("jobs",),
    "log": ("log", *TINY),
    "merge": ("merge", "1", "half.safetensors", "--lambda", "1", "--density", "1", "--dry-run", *TINY),
    "model-list": ("model", "list"),
    "reweight": ("reweight", "1", "--lambda", "1", *TINY),
    "report": ("report", *TINY),
    "show": ("show", "1", *TINY),
    "vector-import": ("vector", "import", "vector.safetensors", "--lambda", "0", "--force", *TINY),
    "vector-show": ("vector", "show", "vector.safetensors"),
}
WITH_FIGURES = {  # figures that are counted, not computed by a model
    "dataset-list": ("dataset", "list"),
    "dataset-stats": ("dataset", "stats", "codes"),
}


@pytest.fixture
def inputs(home_adapted, spelled):
    """The working folder, with a recording, a vector and a manifest."""
    import shutil

    write_spelled(Path("fio.wav"), "fio")
    write_spelled(Path("long.wav"), "fioma" * 4)
    shutil.copytree(spelled.parent, "codes")
    call("vector", "export", 1, "vector.safetensors", *TINY)
    call("vector", "export", 1, "half.safetensors", "--density", 0.5, *TINY)
    return {"home": home_adapted, "work": Path.cwd(), "codes": spelled.parent}


@pytest.mark.parametrize("name", [*DOCUMENTS, *WITH_FIGURES])
def test_json(name, inputs, golden):
    if name == "host-token-list":
        call("host", "token", "add", "phone", "--group", "crew")
    done = call(*(DOCUMENTS.get(name) or WITH_FIGURES[name]), "--json", code=None)
    assert done.code in (0, 1), done
    golden(f"json/{name}.json", as_json(done.stdout, inputs, figures=name in WITH_FIGURES))


@pytest.mark.parametrize("more", [(), ("--lambda", "auto", "--method", "task_arithmetic")], ids=["adapt", "adapt-auto"])
def test_json_of_an_adaptation(more, home_of_tiny, teacher, few_candidates, golden):
    how = more or ("--lambda", "1", "--density", "1")
    done = call("adapt", "--domain", "codes", "--epochs", "2", *how, *TINY, "--json")
    places = {"home": home_of_tiny, "work": Path.cwd()}
    golden(f"json/adapt{'-auto' if more else ''}.json", as_json(done.stdout, places))


def test_json_of_transcripts(inputs, golden):
    one = call("transcribe", "fio.wav", "--format", "json", *TINY).stdout
    golden("json/transcribe.json", as_json(one, inputs))
    several = call("transcribe", "fio.wav", "fio.wav", "--format", "json", *TINY).stdout
    golden("json/transcribe-several.json", as_json(several, inputs))
    lines = call("transcribe", "fio.wav", "--format", "jsonl", *TINY).stdout.splitlines()
    assert len(lines) == 1
    golden("json/transcribe-line.json", as_json(lines[0], inputs))


def test_json_of_microphones(sound, golden):
    sound()
    golden(
        "json/list-devices.json", as_json(call("transcribe", "--list-devices", "-f", "json").stdout, {}, figures=True)
    )


# Errors

WRONG = """
nonsense
--nonsense
transcribe missing.wav --model tiny
transcribe bad.wav --model tiny
transcribe empty.wav --model tiny
transcribe no-audio --model tiny
transcribe fio.wav --model missing
transcribe fio.wav --model no-audio
transcribe fio.wav --model damaged-bundle
transcribe fio.wav --model other-hash
transcribe fio.wav --format doc
transcribe fio.wav --threads 0
transcribe fio.wav --precision int4
transcribe fio.wav --lm missing.arpa --model tiny
transcribe fio.wav --lm bad.arpa --model tiny
transcribe fio.wav bad.wav --format srt --model tiny
transcribe fio.wav --output bad.wav/out.txt --model tiny
transcribe fio.wav --save --domain a/b --model tiny
transcribe --format srt --model tiny
transcribe --silence 9
evaluate
evaluate missing.jsonl --model tiny
evaluate bad.jsonl --model tiny
evaluate empty.jsonl --model tiny
evaluate no-such-audio.jsonl --model tiny
evaluate codes/manifest.jsonl --split none --model tiny
evaluate codes/manifest.jsonl --version 9 --model tiny
bench fio.wav --model tiny
bench missing.wav --model tiny
bench - --model tiny
bench fio.wav --repeats 0
record --domain anna
record
import missing
import no-audio --domain d
import bad.jsonl --domain d
import codes/manifest.jsonl
import codes/manifest.jsonl --domain a/b
correct 99 text
correct text
correct one text
correct --last 1 text
correct 1 text --domain a/b
correct --last text
label
label set 99 text
label set 1 ' '
label set 1 '\u202etext'
label set one text
dataset
dataset stats none
dataset show none
dataset show codes --limit 0
dataset rename none other
dataset rename codes a/b
dataset move 99 --to other
dataset move 1 --to a/b
dataset move 1
dataset delete
dataset delete 1 --domain codes
dataset delete 99 --yes
dataset delete --domain none --yes
dataset forget --speaker nobody
dataset export --domain none --out out
dataset export --domain codes --out no-audio
dataset export --domain codes --out out --format csv
doctor --fix
adapt
adapt --domain none --model tiny
adapt --domain few --model tiny
adapt --domain codes --method mean --model tiny
adapt --domain codes --lambda much --model tiny
adapt --domain codes --lambda encoder=much --model tiny
adapt --domain codes --density 2 --model tiny
adapt --domain codes --density 0.5 --method task_arithmetic --model tiny
adapt --domain codes --scope nose --model tiny
adapt --domain codes --epochs 0 --model tiny
adapt --domain codes --on https://box --model tiny
adapt --domain codes --on http://192.168.1.1 --model tiny
adapt --domain codes --on nonsense --model tiny
log --model missing
show 7 --model tiny
show 0 --model tiny
show one --model tiny
report --model tiny --picture no-audio/x.doc
revert 7 --model tiny
revert 1
reweight 7 --model tiny
reweight 1 --lambda much --model tiny
reweight 1 --density 3 --model tiny
rollback
merge --model tiny
merge 1 --model tiny
merge 1 7 --model tiny
merge 1 missing.safetensors --model tiny
merge 1 bad.safetensors --model tiny
merge 1 vector.safetensors --method mean --model tiny
vector
vector export 7 out.safetensors --model tiny
vector export 1 vector.safetensors --model tiny
vector export 1 bad.wav/x.safetensors --model tiny
vector import missing.safetensors --model tiny
vector import bad.safetensors --model tiny
vector import plain.safetensors --model tiny
vector import vector.safetensors
vector import vector.safetensors --method mean --model tiny
vector show missing.safetensors
vector show bad.safetensors
export --out no-audio --model tiny
export --out out --version 9 --model tiny
export --out out --layout nemo
export --out out --precision int4 --model tiny
export --model tiny
model
model pull ../x --from no-audio
model pull embedded --from no-audio
model pull tiny --from no-audio
model pull other --from no-audio
model pull unknown
jobs attach zzz
jobs cancel zzz
contribute 7 --group crew --on https://box --model tiny
contribute 1 --group crew --on https://box --model tiny
contribute 1 --group crew --model tiny
fleet
fleet pull --group crew --on https://box --model tiny
fleet pull --group crew --on https://user:secret@box --model tiny
host
host init 'no name'
host serve --host 0.0.0.0 --no-tls
host serve --cert missing.pem
host token
host token add ../phone
host token revoke phone
host trust http://192.168.1.1:8443
host trust https://127.0.0.1:1
host forget https://box
host fleet merge --group crew --model tiny
lifelong
lifelong run missing.toml
lifelong run bad.toml
lifelong sweep missing.toml
lifelong corpus nonsense no-audio out
train missing.jsonl --out out
train codes/manifest.jsonl --out no-audio
train codes/manifest.jsonl --out out --config huge
convert no-audio --out out
convert missing/model --out out
"""


@pytest.fixture
def damaged(inputs):
    """Invalid files, and a domain with too few recordings."""
    import shutil

    Path("bad.wav").write_bytes(b"RIFF")
    Path("empty.wav").write_bytes(b"")
    Path("bad.arpa").write_text("nothing")
    Path("bad.jsonl").write_text('{"audio": "fio.wav"}\n{')
    Path("empty.jsonl").write_text("")
    Path("no-such-audio.jsonl").write_text('{"audio": "gone.wav", "text": "f"}\n')
    Path("bad.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    Path("bad.toml").write_text("base = 3\n")
    save_file({"weight": np.zeros(3, np.float32)}, "plain.safetensors")
    Path("no-audio").mkdir()
    Path("no-audio/notes.txt").write_text("notes")
    tiny = inputs["home"] / "models" / "tiny"
    Path("damaged-bundle").mkdir()
    Path("damaged-bundle/model.json").write_text("{")
    shutil.copytree(tiny, "other-hash")
    with Path("other-hash/tokenizer.json").open("a") as file:
        file.write(" ")
    soundfile.write("in-few.wav", np.zeros(16_000, np.float32), 16_000)
    write_spelled(Path("few/a.wav"), "fio")
    Path("few/a.txt").write_text("f i o")
    call("import", "few", "--domain", "few")
    return inputs


def test_errors_are_one_line_and_change_nothing(damaged, golden, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    before = _state()
    shown = []
    for line in WRONG.strip().splitlines():
        visible = line.encode("ascii", "backslashreplace").decode()
        shown.append(f"$ asr-edge {visible}\n{_outcome(shlex.split(line))}")
    golden("wrong-use.txt", normalised("\n".join(shown), damaged))
    assert _state() == before


def _state():
    """Edits, the active version and the domains; `report` may store the WER of a version."""
    log = json.loads(call("log", "--json", "--model", "tiny").stdout)
    return log["edits"], log["current"], len(log["versions"]), call("dataset", "list", "--json").stdout


def _outcome(arguments):
    try:
        done = call(*arguments, code=None)
    except Exception as error:  # a defect: the user would see a traceback
        return f"uncaught {type(error).__name__}\n"
    assert "Traceback" not in done.stderr, arguments
    return f"exit code {done.code}\n{_indented(done.stderr)}{_printed(done.stdout)}"


def _indented(text):
    return "".join(f"  {line.rstrip()}\n" for line in text.splitlines())


def _printed(text):
    """Standard output, of which the first line is enough, as it is help or nothing."""
    lines = [line for line in text.splitlines() if line.strip()]
    return f"  standard output: {lines[0].strip()} ...\n" if lines else ""
