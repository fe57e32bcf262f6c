"""One type follows an utterance from a manifest's line to a batch."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_app.data.utterance import StoredUtterance, Utterance
from editing.errors import BadAudioError
from tests.conftest import write_audio

AUDIO = np.linspace(-0.5, 0.5, 8000, dtype=np.float32)


def test_an_utterance_is_read_from_its_file_and_cut_to_its_part(tmp_path):
    whole = Utterance(audio=write_audio(tmp_path / "a.wav", AUDIO))
    part = replace(whole, start=1000, end=5000)
    assert np.array_equal(part.read(), whole.read()[1000:5000])


def test_an_error_in_a_part_of_a_file_names_the_line(tmp_path):
    part = Utterance(audio=tmp_path / "a.wav", start=1000, end=5000, location="m.jsonl, line 7")
    with pytest.raises(BadAudioError, match=r"^m\.jsonl, line 7: .*a\.wav: No such file"):
        part.read()


def test_audio_in_memory_is_not_read_again():
    utterance = Utterance(audio=Path("/nowhere.flac"), samples=AUDIO, start=10)
    assert np.array_equal(utterance.read(), AUDIO[10:])
    with pytest.raises(BadAudioError):
        replace(utterance, samples=None).read()


def test_an_utterance_without_a_file_cannot_be_read_or_stored():
    utterance = Utterance(text="hello")
    with pytest.raises(ValueError, match="has no file"):
        utterance.read()
    with pytest.raises(ValueError, match="no recording"):
        _ = utterance.recorded


@pytest.mark.parametrize(
    ("split", "is_held_out"),
    [
        *dict.fromkeys(
            ("test", "dev", "validation", "devtest", "DevTest", "test2", "dev_other", "test.other"), True
        ).items(),
        *dict.fromkeys(
            ("testset", "held-out", "holdout", "evaluation", "tst2013", "unseen_test", "train_dev"), True
        ).items(),
        *dict.fromkeys(("train", "", "train_nodev", "trainset", "train+validation", "latest", "device"), False).items(),
    ],
)
def test_whether_it_is_held_out_follows_from_its_split(split, is_held_out):
    assert Utterance(split=split).is_held_out == is_held_out


def test_the_keys_of_a_record_are_those_of_files_that_exist(tmp_path):
    stored = StoredUtterance(
        audio=tmp_path / "a.flac",
        split="train",
        number=3,
        sha256="x",
        created="2026",
        duration_s=1.0,
        hypothesis="high",
    )
    assert list(stored.record()) == [
        *("id", "domain", "speaker", "text", "source", "split", "audio", "sha256", "created", "duration_s"),
        *("level_dbfs", "peak_dbfs", "clipped", "hypothesis", "confidence", "prompt", "snr_db"),
    ]
    assert (stored.record()["id"], stored.record()["hypothesis"]) == (3, "high")


def test_a_recording_of_the_store_that_is_missing_has_a_remedy(tmp_path):
    stored = StoredUtterance(
        audio=tmp_path / "a.flac", split="train", number=3, sha256="x", created="2026", duration_s=1.0
    )
    with pytest.raises(BadAudioError, match=r"a\.flac: .*'asr-edge doctor' says what can be done"):
        stored.read()
    assert replace(stored, samples=np.zeros(5, np.float32)).read().shape == (5,)


def test_importing_the_type_does_not_import_numpy():
    code = "import sys, device_app.data.utterance; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
