"""A ledger from a hostile hand, or a failing disk: one line, whatever it says, and a remedy that loses nothing."""

import json
import re
import signal
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest

from device_app.audio.samples import SAMPLE_RATE
from device_app.models.bundles import embedded_bundle
from device_app.models.ledger import Ledger
from device_app.models.ledger_files import LedgerFiles
from device_app.models.ledger_record import DamagedRecordError, parse_record
from editing.errors import StorageError
from tests.command_line import call
from tests.conftest import write_audio

BASE = "ab" * 32
APPLIED = {"edit": 1, "vectors": ["cd" * 32], "method": "ties", "settings": {"lam": 0.6, "density": 0.5}}
EDIT = {
    "id": 1,
    "kind": "adapt",
    "domains": ["kitchen"],
    "vectors": ["cd" * 32],
    "method": "ties",
    "settings": {"lam": 0.6, "density": 0.5, "scope": "tensor"},
    "created": "2025-11-03T10:00:00+00:00",
    "utterances": 3,
    "seconds": 9.5,
    "before": {"kitchen": 0.5},
    "after": {"kitchen": 0.25},
    "reasons": [],
}
VERSIONS = [
    {"id": 0, "parent": None, "applied": [], "why": "the base model", "created": "", "wer": {}},
    {"id": 1, "parent": 0, "applied": [APPLIED], "why": "adapt kitchen", "created": "", "wer": {"kitchen": 0.25}},
    {"id": 2, "parent": 1, "applied": [], "why": "revert 1", "created": "", "wer": {}},
]


def record(**changes):
    whole = {"format_version": 1, "base": BASE, "current": 1, "edits": [EDIT], "versions": VERSIONS}
    return {key: value for key, value in {**whole, **changes}.items() if value is not None}


def of_edit(**changes):
    return record(edits=[{**EDIT, **changes}])


def of_version(number, **changes):
    return record(versions=[{**one, **changes} if one["id"] == number else one for one in VERSIONS])


def of_applied(**changes):
    return of_version(1, applied=[{**APPLIED, **changes}])


def text(changed, by):
    return json.dumps(record()).replace(changed, by, 1)


BAD = {
    "empty": "",
    "cut short": json.dumps(record())[:-40],
    "zeros, as a full disk leaves": "\0" * 4096,
    "not UTF-8": b'{"base": "\xff"}',
    "nested 100,000 deep": "[" * 100_000,
    "objects 100,000 deep": '{"a":' * 100_000,
    "settings 100,000 deep": text('"lam": 0.6', '"lam": ' + "[" * 100_000),
    "settings 900 deep": text('"lam": 0.6', '"lam": ' + "[" * 900 + "]" * 900),
    "an integer of 5000 digits": text('"current": 1', f'"current": {"9" * 5000}'),
    "a list": [],
    "a number": 1,
    "null": "null",
    "a key twice": text('"current": 1', '"current": 1, "current": 1'),
    "half of a surrogate pair": text('"kitchen"', '"\\ud83d"'),
    "no format version": record(format_version=None),
    "format version true": record(format_version=True),
    "format version 0": record(format_version=0),
    "format version text": record(format_version="1"),
    "no base": record(base=None),
    "a base that is no hash": record(base="../../x"),
    "no edits": record(edits=None),
    "edits are an object": record(edits={"1": EDIT}),
    "an edit is a list": record(edits=[[]]),
    "an edit without id": record(edits=[{key: value for key, value in EDIT.items() if key != "id"}]),
    "an edit with more": of_edit(owner="me"),
    "ids that start at 0": of_edit(id=0),
    "ids that start at 2": of_edit(id=2),
    "the same id twice": record(edits=[EDIT, EDIT]),
    "an id that is true": of_edit(id=True),
    "an id that is text": of_edit(id="1"),
    "domains are text": of_edit(domains="kitchen"),
    "a domain is a number": of_edit(domains=[1]),
    "vectors climb out": of_edit(vectors=["../../../etc/passwd"]),
    "vectors are short": of_edit(vectors=["cd" * 31]),
    "vectors in capitals": of_edit(vectors=["CD" * 32]),
    "vectors and a line break": of_edit(vectors=["cd" * 32 + "\n"]),
    "vectors are text": of_edit(vectors="cd" * 32),
    "vectors are missing": of_edit(vectors=[]),
    "an unknown method": of_edit(method="eval"),
    "a method that is a list": of_edit(method=["ties"]),
    "settings are a list": of_edit(settings=[]),
    "settings without lambda": of_edit(settings={}),
    "a setting that ties has not": of_edit(settings={"lam": 1.0, "seed": 1}),
    "lambda is text": of_edit(settings={"lam": "0.6"}),
    "lambda is NaN": of_edit(settings={"lam": float("nan")}),
    "lambda is true": of_edit(settings={"lam": True}),
    "lambda by layer is text": of_edit(settings={"lam": {"encoder": "a"}}),
    "a density of 2": of_edit(settings={"lam": 1.0, "density": 2}),
    "a scope of nothing": of_edit(settings={"lam": 1.0, "scope": "all"}),
    "created is a number": of_edit(created=5),
    "utterances are negative": of_edit(utterances=-1),
    "utterances are 1.5": of_edit(utterances=1.5),
    "seconds are text": of_edit(seconds="long"),
    "a WER that is infinite": of_edit(after={"kitchen": float("inf")}),
    "a WER too large for float64": text("0.25", "1e999"),
    "other domains after than before": of_edit(after={"garden": 0.5}),
    "reasons are text": of_edit(reasons="bad"),
    "no versions": record(versions=None),
    "an empty list of versions": record(versions=[]),
    "the same version twice": record(versions=[*VERSIONS, VERSIONS[2]]),
    "a version is missing": record(versions=[VERSIONS[0], VERSIONS[2]]),
    "the base has a parent": of_version(0, parent=0),
    "the base has edits": of_version(0, applied=[APPLIED]),
    "a version is its own parent": of_version(1, parent=1),
    "a cycle of parents": of_version(1, parent=2),
    "a parent that is not there": of_version(2, parent=9),
    "a parent of -1": of_version(2, parent=-1),
    "a parent of 0.0": of_version(2, parent=0.0),
    "no parent but the base": of_version(2, parent=None),
    "applied is text": of_version(1, applied="1"),
    "applied is an edit that is not there": of_applied(edit=2),
    "applied is edit 0": of_applied(edit=0),
    "applied is edit -1": of_applied(edit=-1),
    "applied vectors of another edit": of_applied(vectors=["ef" * 32]),
    "applied vectors climb out": of_applied(vectors=["../x"]),
    "applied with an unknown method": of_applied(method="mean"),
    "applied with a negative density": of_applied(settings={"lam": 1.0, "density": -1}),
    "why is a number": of_version(1, why=7),
    "a WER of text": of_version(1, wer={"kitchen": "good"}),
    "active is -1": record(current=-1),
    "active is what is not there": record(current=3),
    "active is text": record(current="1"),
    "active is 1.0": record(current=1.0),
    "active is true": record(current=True),
}


def as_bytes(bad):
    if isinstance(bad, bytes):
        return bad
    return (bad if isinstance(bad, str) else json.dumps(bad)).encode()


def test_the_good_one_is_read():
    found = parse_record(as_bytes(record()))
    assert (found.base, found.current, found.vectors) == (BASE, 1, {"cd" * 32})
    assert parse_record(found.to_bytes()) == found


def test_what_has_defaults_may_be_missing():
    edit = {key: EDIT[key] for key in ("id", "kind", "domains", "vectors", "method", "settings")}
    assert parse_record(as_bytes(record(edits=[edit]))).edits[0].utterances == 0


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_is_damage_in_one_line_and_little_memory(kind):
    data = as_bytes(BAD[kind])
    tracemalloc.start()
    with pytest.raises(DamagedRecordError) as raised:
        parse_record(data)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 300
    assert taken < 16 * len(data) + (1 << 20)


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    files = LedgerFiles(tmp_path / "home" / "ledgers" / embedded_bundle().weights_hash[:16])
    files.folder.mkdir(parents=True)
    return files


@pytest.mark.parametrize("kind", ["empty", "nested 100,000 deep", "a cycle of parents", "vectors climb out"])
@pytest.mark.parametrize("command", [("log",), ("report",), ("rollback",), ("transcribe", "x.wav")])
def test_a_command_says_it_in_one_line_with_the_remedy(own, tmp_path, monkeypatch, kind, command):
    bad = BAD[kind]
    base = embedded_bundle().weights_hash
    data = as_bytes({**bad, "base": base} if isinstance(bad, dict) else bad)
    own.ledger.write_bytes(data)
    write_audio(tmp_path / "x.wav", np.zeros(SAMPLE_RATE, np.float32))
    monkeypatch.chdir(tmp_path)
    done = call(*command, code=1)
    assert done.stderr.count("\n") == 1, done.stderr
    assert re.search(r"ledger\.json: is damaged .* 'asr-edge doctor' .* no task vector is lost", done.stderr)
    assert own.ledger.read_bytes() == data


def test_a_ledger_of_another_model_is_not_taken(own):
    own.ledger.write_bytes(as_bytes(record()))
    with pytest.raises(StorageError, match="belongs to the base abababab"):
        Ledger(embedded_bundle())


WRITE = """
import sys
from device_app.models.ledger import Ledger
from device_app.models.bundles import embedded_bundle
ledger = Ledger(embedded_bundle())
with ledger.changing():
    while True:
        ledger.record_wer(ledger.current, {"kitchen": len(ledger.current.wer) / 7})
        ledger.promote(ledger.draft([], "again"))
        print(ledger.current.id, flush=True)
"""


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_a_kill_while_it_is_written_leaves_two_whole_ledgers(own, kills):
    confirmed = 0
    for turn in range(kills):
        with subprocess.Popen([sys.executable, "-c", WRITE], stdout=subprocess.PIPE, text=True) as process:
            confirmed = int(process.stdout.readline())
            time.sleep(0.013 * (turn % 9))
            process.send_signal(signal.SIGKILL)
            confirmed = int((process.communicate()[0].split() or [confirmed])[-1])
        now, before = own.read(own.ledger), own.read(own.previous)
        assert now is not None
        assert before is not None
        assert now[0].current >= confirmed
        assert before[0].current in (now[0].current, now[0].current - 1)
        own.ledger.write_bytes(b"rubbish")
        own.restore()
        assert Ledger(embedded_bundle()).current.id == before[0].current
