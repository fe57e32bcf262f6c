import json
import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from device_app.doctor import examine
from device_app.importing import encode, new_utterance
from device_app.store import Store


def audio(seed):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, 4000).astype(np.float32)


def new(seed, **more):
    return new_utterance(audio(seed), **{"domain": "d", "text": "x", "speaker": None, "source": "recorded"} | more)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as opened:
        opened.add([new(seed) for seed in range(3)])
        yield opened


def files(store):
    return {path for path in store.audio_folder.rglob("*") if path.is_file()}


def test_a_whole_store_has_no_findings(store):
    before = files(store)
    assert not examine(store)
    assert files(store) == before


def test_a_missing_file_takes_its_row_along(store):
    first = store.get(1)
    first.audio.unlink()
    assert examine(store).missing == [f"utterance 1: its audio {first.audio} is missing"]
    assert [u.id for u in store.utterances()] == [2, 3]
    assert not examine(store)


def test_audio_that_was_edited_is_measured_anew(store):
    first = store.get(1)
    first.audio.write_bytes(encode(audio(9)[:2000]))
    assert len(examine(store).changed) == 1
    mended = store.get(1)
    assert mended.duration_s == 2000 / 16000
    assert (mended.text, mended.split) == (first.text, first.split)
    assert not examine(store)


def test_audio_that_was_damaged_goes(store):
    store.get(2).audio.write_bytes(b"rubbish")
    assert len(examine(store).damaged) == 1
    assert [u.id for u in store.utterances()] == [1, 3]
    assert len(files(store)) == 2


def test_audio_without_a_row_is_recovered(store):
    orphan = store.audio_folder / "ab" / "orphan.flac"
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(encode(audio(7)))
    (store.audio_folder / "ab" / "rubbish.flac").write_bytes(b"rubbish")
    (store.audio_folder / "ab" / ".x.flac.1234.tmp").write_bytes(b"half")
    findings = examine(store)
    assert (len(findings.orphans), len(findings.half_written)) == (2, 1)
    (recovered,) = store.utterances("recovered")
    assert recovered.text is None
    assert recovered.audio.read_bytes() == encode(audio(7))
    assert len(files(store)) == 4
    assert not examine(store)


def test_a_deletion_that_was_killed_is_finished(store):
    """Marked, its audio still there: what a kill between the steps of `delete` leaves."""
    store._connection.execute("UPDATE utterance SET deleted = 1 WHERE id = 1")
    assert len(examine(store).half_deleted) == 1
    assert len(files(store)) == 2
    assert [u.id for u in store.utterances()] == [2, 3]


def test_a_dry_run_changes_nothing(store):
    store.get(1).audio.unlink()
    (store.audio_folder / "orphan.flac").write_bytes(b"rubbish")
    before = files(store)
    assert examine(store, mend=False)
    assert files(store) == before
    assert len(list(store.utterances())) == 3


IMPORT = """
import sys
from pathlib import Path
from device_app.corpora import find_candidates
from device_app.importing import import_candidates
from device_app.store import Store
with Store(Path(sys.argv[1])) as store:
    if sys.argv[3] == "delete":
        store.delete([u.id for u in store.utterances("d")][::2])
    def confirmed(count):
        print(sum(s.utterances for s in store.stats()), flush=True)
    confirmed(0)
    import_candidates(store, find_candidates(Path(sys.argv[2]))[1], "d", on_done=confirmed)
"""


@pytest.mark.parametrize("kills", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_of_import_and_delete_loses_nothing_confirmed(tmp_path, kills):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    lines = []
    for index in range(300):
        (corpus / f"{index}.flac").write_bytes(encode(audio(index)))
        lines.append(json.dumps({"audio": f"{index}.flac", "text": f"utterance {index}"}))
    (corpus / "m.jsonl").write_text("\n".join(lines))
    moments = random.Random(0)
    home = tmp_path / "home"
    for turn in range(kills):
        command = [sys.executable, "-c", IMPORT, home, corpus / "m.jsonl", "delete" if turn % 4 == 3 else "import"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
            time.sleep(moments.uniform(0.1, 0.9))
            process.kill()
            confirmed = [int(line) for line in process.communicate()[0].splitlines()]
        with Store(home) as store:
            held = {u.id: u.sha256 for u in store.utterances()}
            assert len(held) >= (confirmed[-1] if confirmed else 0)
            examine(store)
            assert held.items() <= {u.id: u.sha256 for u in store.utterances()}.items()
            assert len(files(store)) == len(list(store.utterances()))
            assert not examine(store)
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, home, corpus / "m.jsonl", "import"], check=True, capture_output=True
    )
    assert done.returncode == 0
    with Store(home) as store:
        assert {u.text for u in store.utterances("d")} == {f"utterance {index}" for index in range(300)}
