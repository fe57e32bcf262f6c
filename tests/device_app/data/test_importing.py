import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from device_app.audio.samples import SAMPLE_RATE, encode, read
from device_app.data.importing import BATCH, import_utterances
from device_app.data.overlaps import with_parts
from device_app.data.recordings import recording_of
from device_app.data.repair.utterances import examine
from device_app.data.store import Store
from device_app.data.utterance import Utterance
from device_app.paths import RECORDINGS
from tests.conftest import write_audio
from tests.device_app.audio.media_files import make, sound


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "home") as opened:
        yield opened


def test_recordings_are_stored_as_16_khz_flac(store, tmp_path):
    tone = np.sin(np.arange(48000) / 20).astype(np.float32) * 0.5
    path = write_audio(tmp_path / "stereo.wav", np.stack([tone, tone], axis=1), 48000)
    report = import_utterances(store, [Utterance(audio=path, text="A tone", speaker="anna")], "sounds")
    assert (report.imported, report.seconds) == (1, pytest.approx(1.0, abs=0.01))
    (kept,) = store.utterances("sounds")
    assert kept.source == "imported"
    assert len(read(kept.audio)) == pytest.approx(SAMPLE_RATE, abs=2)
    assert kept.peak_dbfs == pytest.approx(-6.0, abs=0.2)
    assert kept.level_dbfs == pytest.approx(-9.0, abs=0.2)


def test_a_flac_in_the_form_of_the_store_is_copied(store):
    path = RECORDINGS / "two_cities.flac"
    report = import_utterances(store, [Utterance(audio=path, text=None)], "d")
    assert report.too_long == [f"{path}: 44.4 s long; 30 s is the maximum"]
    short = write_audio(store.folder / "short.flac", read(path)[: 5 * SAMPLE_RATE])
    import_utterances(store, [Utterance(audio=short, text=None)], "d")
    (kept,) = store.utterances("d")
    assert kept.audio.read_bytes() == short.read_bytes()


def test_a_recording_with_a_sample_that_is_no_number_is_imported_and_named(store, tmp_path):
    audio = np.full(SAMPLE_RATE, 0.1, np.float32)
    audio[5000] = np.nan
    path = write_audio(tmp_path / "x.wav", audio, subtype="FLOAT")
    report = import_utterances(store, [Utterance(audio=path, text="a")], "d")
    assert (report.imported, report.unreadable) == (1, [])
    assert report.repaired == [f"{path}: 1 of 16,000 samples is no number (NaN or infinite) and was read as 0"]


def test_unusable_recordings_are_reported_and_the_others_imported(store, tmp_path):
    good = RECORDINGS / "invalid.flac"
    (tmp_path / "text.wav").write_text("not audio")
    candidates = [
        Utterance(audio=good, text="I am sorry."),
        Utterance(audio=good, text="the same again"),
        Utterance(audio=tmp_path / "missing.wav", text="x"),
        Utterance(audio=tmp_path / "text.wav", text="x"),
        Utterance(audio=RECORDINGS / "ss-noservice.flac", text="x" * 10_000),
        Utterance(audio=RECORDINGS / "vm-newuser.flac", text=None),
    ]
    report = import_utterances(store, candidates, "prompts")
    assert (report.imported, report.unlabelled) == (2, 1)
    assert report.duplicates == [str(good)]
    assert [line.split(":")[0].rpartition("/")[2] for line in report.unreadable] == ["missing.wav", "text.wav"]
    assert len(report.bad_texts) == 1
    again = import_utterances(store, candidates, "prompts")
    assert (again.imported, len(again.duplicates)) == (0, 3)


def test_the_corpus_names_the_domain_if_the_user_does_not(store):
    import_utterances(store, [Utterance(audio=RECORDINGS / "invalid.flac", text="x", domain="Scottish English")], None)
    assert store.domains() == ["Scottish English"]


def test_speakers_of_a_sorted_corpus_are_held_out_whole(store, tmp_path):
    """One speaker after another, each longer than a batch: no batch shows that there are several."""
    candidates = []
    for speaker in range(5):
        for index in range(BATCH + 1):
            noise = np.random.default_rng(1000 * speaker + index).uniform(-0.5, 0.5, 2000).astype(np.float32)
            path = tmp_path / f"{speaker}-{index}.flac"
            path.write_bytes(encode(noise))
            candidates.append(Utterance(audio=path, text="text", speaker=f"speaker {speaker}"))
    assert import_utterances(store, candidates, "d").imported == len(candidates)
    parts = {(u.speaker, u.split) for u in store.utterances("d")}
    assert sorted(split for _, split in parts) == ["test", "train", "train", "train", "train"]


def test_progress_counts_every_candidate(store, tmp_path):
    counts = []
    candidates = [Utterance(audio=tmp_path / "none", text=None)] * (2 * BATCH + 1)
    report = import_utterances(store, candidates, "d", on_done=counts.append)
    assert counts == [BATCH, BATCH, 1]
    assert len(report.unreadable) == 2 * BATCH + 1


def test_measurements_of_silence_and_of_clipped_audio():
    silence = recording_of(np.zeros(1600, np.float32))
    assert (silence.level_dbfs, silence.peak_dbfs, silence.clipped) == (-200.0, -200.0, 0.0)
    loud = np.clip(np.sin(np.arange(16000) / 10) * 2, -1, 1).astype(np.float32)
    assert recording_of(loud).clipped > 0.5


def test_encoding_is_deterministic():
    audio = np.random.default_rng(0).uniform(-1, 1, 16000).astype(np.float32)
    assert encode(audio) == encode(audio)


def test_encoding_is_the_same_in_another_process():
    """Recordings are compared by the bytes of their FLAC files."""
    audio = np.random.default_rng(0).uniform(-1, 1, 16000).astype(np.float32)
    code = (
        "import hashlib, numpy as np; from device_app.audio.samples import encode\n"
        "audio = np.random.default_rng(0).uniform(-1, 1, 16000).astype(np.float32)\n"
        "print(hashlib.sha256(encode(audio)).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(encode(audio)).hexdigest()


def test_two_imports_at_the_same_time_keep_every_recording_once(tmp_path):
    """What once happened: each utterance was there twice, once in the training part and once in the test part."""
    count = 3 * BATCH
    lines = []
    for index in range(count):
        noise = np.random.default_rng(index).uniform(-0.5, 0.5, 2000).astype(np.float32)
        (tmp_path / f"{index}.flac").write_bytes(encode(noise))
        lines.append(json.dumps({"audio": f"{index}.flac", "text": f"utterance {index}"}))
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    command = [sys.executable, "-m", "device_app", "import", str(tmp_path / "m.jsonl"), "--domain", "d", "--json"]
    environment = {**os.environ, "ASR_EDGE_HOME": str(tmp_path / "home")}
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    reports = [json.loads(out) for out, _ in outputs]
    assert sum(report["imported"] for report in reports) == count
    assert sum(len(report["duplicates"]) for report in reports) == count
    with Store(tmp_path / "home") as store:
        assert sorted(u.text for u in store.utterances()) == sorted(f"utterance {index}" for index in range(count))
        assert len(list(store.audio_folder.rglob("*.flac"))) == count
        assert not examine(store)


def test_a_second_text_of_a_stored_recording_is_shown_and_the_first_is_kept(store, tmp_path):
    first, second = RECORDINGS / "invalid.flac", RECORDINGS / "vm-newuser.flac"
    import_utterances(store, [Utterance(audio=first, text="I am sorry."), Utterance(audio=second)], "d")
    again = [
        Utterance(
            audio=first, text="I am  sorry.", location="m, line 1"
        ),  # the same, once its white space is evened out
        Utterance(audio=first, text="I am not sorry.", location="m, line 2"),
        Utterance(audio=first, text=None, location="m, line 3"),
        Utterance(audio=second, text="New user.", location="m, line 4"),
    ]
    report = import_utterances(store, again, "d")
    assert report.other_texts == [
        "m, line 2: 'I am not sorry.': already stored as utterance 1 with the text 'I am sorry.', which is unchanged; "
        "to change it: asr-edge label set 1 TEXT",
        "m, line 4: 'New user.': already stored as utterance 2 without a text; to change it: asr-edge label set 2 TEXT",
    ]
    assert len(report.duplicates) == 4
    assert [u.text for u in store.utterances()] == ["I am sorry.", None]


def test_two_texts_of_a_recording_in_one_manifest(store):
    one = RECORDINGS / "invalid.flac"
    both = [Utterance(audio=one, text=text, location=f"m, line {line}") for line, text in enumerate("ab", 1)]
    report = import_utterances(store, both, "d")
    assert [line.partition(":")[0] for line in report.other_texts] == ["m, line 2"]
    assert [u.text for u in store.utterances()] == ["a"]


def noises(folder, count):
    """Recordings of noise, each with other samples."""
    for index in range(count):
        noise = np.random.default_rng(index).uniform(-0.5, 0.5, 2000).astype(np.float32)
        yield write_audio(folder / f"{index}.flac", noise)


@pytest.mark.parametrize("speakers", [1, 5])
@pytest.mark.parametrize("train", ["train", "Training", "train-clean-100", ""])
@pytest.mark.parametrize("test", ["test", "Test", "dev-clean", "validation", "eval"])
def test_a_split_of_the_corpus_is_respected(store, tmp_path, train, test, speakers):
    """Once, a fifth was held out in addition to the test lines of a manifest."""
    candidates = [
        Utterance(audio=path, text="x", speaker=f"s{n % speakers}", split=train if n % 4 else test)
        for n, path in enumerate(noises(tmp_path, 40))
    ]
    import_utterances(store, candidates, "d")
    assert [one.split for one in store.utterances("d")] == [
        "test" if one.is_held_out else "train" for one in candidates
    ]


def test_a_corpus_of_training_lines_alone_is_not_split(store, tmp_path):
    import_utterances(store, [Utterance(audio=p, text="x", split="train") for p in noises(tmp_path, 20)], "d")
    assert {one.split for one in store.utterances("d")} == {"train"}


def test_a_corpus_without_splits_is_split(store, tmp_path):
    import_utterances(store, [Utterance(audio=p, text="x") for p in noises(tmp_path, 40)], "d")
    assert {one.split for one in store.utterances("d")} == {"train", "test"}


def test_a_recording_that_was_held_out_is_not_trained_on_as_another_corpus_says(store, tmp_path):
    (path,) = noises(tmp_path, 1)
    import_utterances(store, [Utterance(audio=path, text="x", split="test")], "d")
    import_utterances(store, [Utterance(audio=path, text="x", split="train")], "e")
    assert [one.split for one in store.utterances("e")] == ["test"]


def test_each_part_of_a_recording_is_stored_as_an_utterance(store):
    path = RECORDINGS / "two_cities.flac"  # 44 s
    whole = read(path)
    parts = [(0, 3), (3, 7.5), (40, None), (43, 50), (60, None), (1, 40)]
    candidates = [
        Utterance(
            audio=path,
            start=round(start * SAMPLE_RATE),
            end=None if end is None else round(end * SAMPLE_RATE),
            text=str(start),
            location=f"m, line {line}",
        )
        for line, (start, end) in enumerate(parts, 1)
    ]
    report = import_utterances(store, candidates, "d")
    assert [one.text for one in store.utterances("d")] == ["0", "3", "40"]
    for one, (start, end) in zip(store.utterances("d"), parts, strict=False):
        expected = whole[round(start * SAMPLE_RATE) : None if end is None else round(end * SAMPLE_RATE)]
        assert np.abs(read(one.audio) - expected).max() < 1e-4
    assert [line.partition(": ")[0] for line in report.unreadable] == ["m, line 4", "m, line 5"]
    assert all('correct "offset" and "duration"' in line for line in report.unreadable)
    assert report.too_long == [f"m, line 6: {path}: 39.0 s long; 30 s is the maximum"]


@pytest.fixture
def no_length(monkeypatch):
    """Recordings whose header does not give their length, as browsers write WebM."""
    monkeypatch.setattr("device_app.data.cuts.duration_s", lambda _path: 0.0)


def test_a_recording_without_a_length_in_its_header_is_measured_when_it_is_read(store, no_length):
    path = RECORDINGS / "two_cities.flac"
    report = import_utterances(store, [Utterance(audio=path, text="x")], "d")
    assert report.too_long == [f"{path}: 44.4 s long; 30 s is the maximum"]


def test_a_part_of_a_recording_without_a_length_in_its_header_is_checked_when_it_is_read(store, no_length):
    path = RECORDINGS / "two_cities.flac"
    ends = [(0, 3), (3, 5), (43, 50)]
    candidates = [
        Utterance(audio=path, start=start * SAMPLE_RATE, end=end * SAMPLE_RATE, text="x", location=f"m, line {end}")
        for start, end in ends
    ]
    report = import_utterances(store, candidates, "d")
    assert [one.duration_s for one in store.utterances("d")] == [3.0, 2.0]
    (message,) = report.unreadable
    assert message == f"m, line 50: {path}: has 1.374 s of audio after 43.000 s; expected 7.000 s"


@pytest.mark.parametrize("text", ["...", "\N{GRINNING FACE}", "- ?"])
def test_a_text_without_a_word_is_no_label(store, text):
    one = Utterance(audio=RECORDINGS / "invalid.flac", text=text, location="m, line 1")
    report = import_utterances(store, [one], "d")
    assert report.bad_texts == [
        f"m, line 1: {one.audio}: the text {text!r} has no word; write what is said, or leave the text empty"
    ]


def test_a_pipe_is_reported_and_not_opened(store, tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    report = import_utterances(store, [Utterance(audio=tmp_path / "a.wav", location="m, line 1")], "d")
    assert report.unreadable == [f"m, line 1: {tmp_path / 'a.wav'}: is a pipe; name a sound file"]


@pytest.mark.parametrize(("count", "expected"), [(1, []), (2, ["has 2 audio tracks"])])
def test_other_audio_tracks_are_not_lost_in_silence(store, tmp_path, count, expected):
    pytest.importorskip("av")
    path = make(tmp_path / "talk.mkv", "mkv", tracks=[sound(16000)] * count)
    report = import_utterances(store, [Utterance(audio=path, text="One")], "d")
    assert report.imported == 1
    assert report.first_tracks == [f"{path}: {one}" for one in expected]


def parts(path, *cuts, **changes):
    return [
        Utterance(
            audio=path,
            start=round(a * SAMPLE_RATE),
            end=None if b is None else round(b * SAMPLE_RATE),
            text="x",
            **changes,
        )
        for a, b in cuts
    ]


def test_parts_that_overlap_share_a_split(tmp_path):
    others = [Utterance(audio=tmp_path / str(n), text="x") for n in range(40)]
    (tmp_path / "link.wav").symlink_to("a.wav")
    cuts = parts(tmp_path / "a.wav", (0, 3), (9, 12), (2, 6)) + parts(tmp_path / "link.wav", (5, 8), (11.8, 15))
    splits = [one.part for one in with_parts([*cuts, *others])]
    assert splits[0] is not None
    assert splits == [splits[0], None, splits[0], splits[0], None] + [None] * 40
    whole = parts(tmp_path / "a.wav", (0, None), (0, 3), (9, 12), (10, 10.3))
    assert len({one.part for one in with_parts([*whole, *others])[:4]}) == 1


def test_overlapping_parts_of_all_of_a_corpus_are_for_training(tmp_path):
    for name in "abcdefgh":
        cuts = with_parts(parts(tmp_path / name, *((n, n + 2) for n in range(20))))
        assert {one.part for one in cuts} == {"train"}


def test_overlapping_parts_are_stored_in_one_split(store):
    path = RECORDINGS / "two_cities.flac"
    for first in range(0, 40, 4):
        import_utterances(
            store, parts(path, (first, first + 2), (first + 1, first + 3)) + parts(path, *[(44.2, 44.35)] * 10), "d"
        )
    stored = [one.split for one in store.utterances("d") if one.duration_s > 1]
    assert len(stored) == 20
    assert stored[::2] == stored[1::2]
    assert set(stored) == {"train", "test"}


def test_messages_about_parts_of_a_recording_name_their_lines(store):
    part = Utterance(audio=RECORDINGS / "invalid.flac", start=0, end=SAMPLE_RATE, text="x", location="m, line 1")
    bad = replace(part, text="x" * 10_000, location="m, line 2")
    report = import_utterances(store, [part, bad], "d")
    again = import_utterances(store, [part], "d")
    assert report.bad_texts[0].startswith(f"m, line 2: {part.audio}: ")
    assert again.duplicates == [f"m, line 1: {part.audio}"]


def test_joiners_inside_words_are_stored(store):
    persian = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    text = f"\u200c{persian}\u200c  \u200d {persian}"
    import_utterances(store, [Utterance(audio=RECORDINGS / "invalid.flac", text=text)], "d")
    assert [one.text for one in store.utterances("d")] == [f"{persian} {persian}"]


def lines(path, starts, **options):
    return [
        Utterance(audio=path, start=start, end=start + SAMPLE_RATE, text=f"{start}", location=f"line {n}", **options)
        for n, start in enumerate(starts, 1)
    ]


def test_parts_of_a_recording_are_imported_in_the_order_of_their_lines_after_one_decoding(store, tmp_path, decodings):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 50 * SAMPLE_RATE).astype(np.float32)
    path = write_audio(tmp_path / "x.ogg", noise)
    starts = [SAMPLE_RATE * index // 3 for index in range(2 * BATCH)]
    shuffled = [*np.random.default_rng(0).permutation(starts[:BATCH]).tolist(), *reversed(starts[BATCH:])]
    report = import_utterances(store, lines(path, shuffled), "d")
    assert decodings == [path]
    assert report.imported == 2 * BATCH
    assert [one.text for one in store.utterances("d")] == [str(start) for start in shuffled]
    whole = read(path)
    for one, start in zip(store.utterances("d"), shuffled, strict=True):
        assert np.abs(read(one.audio) - whole[start : start + SAMPLE_RATE]).max() < 1e-4


def test_a_recording_that_many_lines_name_is_read_once_for_a_batch(store, tmp_path, monkeypatch):
    read_files = []
    monkeypatch.setattr("device_app.audio.samples.read", lambda path, on_repair: read_files.append(path) or read(path))
    path = write_audio(tmp_path / "x.wav", np.full(SAMPLE_RATE, 0.1, np.float32))
    candidates = [Utterance(audio=path, text=f"{index}") for index in range(2 * BATCH)]
    report = import_utterances(store, candidates, "d")
    assert (report.imported, len(report.duplicates), len(report.other_texts)) == (1, 2 * BATCH - 1, 2 * BATCH - 1)
    assert read_files == [path, path]
    assert [one.text for one in store.utterances("d")] == ["0"]


def test_each_line_of_a_damaged_recording_has_its_message_in_the_order_of_the_lines(store, tmp_path, decodings):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 20 * SAMPLE_RATE).astype(np.float32)
    noise[3 * SAMPLE_RATE] = np.nan
    path = write_audio(tmp_path / "x.wav", noise, subtype="FLOAT")
    path.write_bytes(path.read_bytes()[: 4 * 10 * SAMPLE_RATE])
    starts = [start * SAMPLE_RATE for start in (15, 1, 12, 12, 2, 5, 30)]
    report = import_utterances(store, lines(path, starts), "d")
    assert decodings == [path]
    assert [one.text for one in store.utterances("d")] == [str(starts[index]) for index in (1, 4, 5)]
    assert [line.partition(": ")[0] for line in report.unreadable] == ["line 1", "line 3", "line 4", "line 7"]
    assert all(f": {path}: damaged or cut off" in line for line in report.unreadable[:3])
    assert [line.partition(" samples")[0] for line in report.repaired] == [f"{path}: 1 of 96,000"]
