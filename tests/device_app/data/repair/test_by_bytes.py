"""Repair decides by the bytes of a file: each text stays with its own sound, wherever a person put the file."""

import itertools
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_app.audio.samples import encode
from device_app.data.repair.utterances import examine, repair
from device_app.data.store import Store
from tests.device_app.data.repair.test_utterances import audio, kinds, new, repaired

EXCHANGED = "recordings whose files were exchanged"


def texts_and_sounds(store):
    """What matters: each domain's texts, with the bytes that they are about."""
    return sorted((u.domain, u.text or "", u.audio.read_bytes()) for u in store.utterances())


def check_whole(store):
    assert examine(store) == []
    utterances = list(store.utterances())
    assert len({u.audio for u in utterances}) == len(utterances), "each utterance has a file of its own"


def rearrange(store, targets):
    """Puts the file of utterance `number` where that of `targets[number]` was."""
    data = {number: store.get(number).audio.read_bytes() for number in targets}
    for number, target in targets.items():
        store.get(target).audio.write_bytes(data[number])


@pytest.fixture
def store(tmp_path):
    """Three utterances of the domain d, and two of e, of which one is the same recording as the first."""
    with Store(tmp_path) as opened:
        opened.add([new(seed, text=f"text {seed}") for seed in range(3)])
        opened.add([new(0, domain="e", text="another text"), new(4, domain="e", text="text 4")])
        yield opened


def give_up(store, tmp_path):
    """The audio folder goes away, and a person says that it is gone; then it comes back."""
    store.audio_folder.rename(tmp_path / "disk")
    repaired(store, missing_is_gone=True)
    assert list(store.utterances()) == []
    (tmp_path / "disk").rename(store.audio_folder)


def test_a_restored_recording_of_two_domains_has_both_texts(store, tmp_path):
    before = texts_and_sounds(store)
    give_up(store, tmp_path)
    assert repaired(store) == ["recordings that were found again"] * 5
    assert texts_and_sounds(store) == before
    assert store.quarantine.records() == []
    check_whole(store)


def test_one_restored_file_restores_both_domains(store, tmp_path):
    before = texts_and_sounds(store)
    give_up(store, tmp_path)
    first, *_ = [path for path in store.audio_folder.rglob("*.flac") if path.read_bytes() == encode(audio(0))]
    first.unlink()
    repaired(store)
    assert texts_and_sounds(store) == before
    check_whole(store)


def test_more_files_than_utterances_leave_no_copies(store, tmp_path):
    before = texts_and_sounds(store)
    give_up(store, tmp_path)
    for name in ("copy.flac", "another.flac"):
        (store.audio_folder / name).write_bytes(encode(audio(0)))
    assert kinds(examine(store)).count("copies of recordings") == 2
    repaired(store)
    assert texts_and_sounds(store) == before
    check_whole(store)


def test_a_restored_recording_is_not_a_copy_of_another_domains(store):
    """What once happened: only one domain's file was away, and when it came back it was removed as a copy."""
    before = texts_and_sounds(store)
    file = store.get(4).audio
    data = file.read_bytes()
    (store.get(1).audio).unlink()
    file.unlink()
    repaired(store)
    file.write_bytes(data)
    repaired(store)
    assert texts_and_sounds(store) == before
    check_whole(store)


def test_missing_audio_that_another_domain_has_is_copied(store):
    before = texts_and_sounds(store)
    store.get(4).audio.unlink()
    assert repaired(store) == ["recordings that another utterance shares"]
    assert texts_and_sounds(store) == before
    check_whole(store)


def test_a_moved_file_serves_both_domains(store):
    before = texts_and_sounds(store)
    store.get(4).audio.unlink()
    store.get(1).audio.rename(store.audio_folder / "moved.flac")
    repaired(store)
    assert texts_and_sounds(store) == before
    check_whole(store)


def test_of_two_records_of_a_recording_in_a_domain_the_newest_is_restored(store):
    file, data = store.get(3).audio, store.get(3).audio.read_bytes()
    file.unlink()
    repaired(store)
    (record,) = store.quarantine.records()
    store.quarantine.add([{**record, "text": "a later text"}], "its audio was missing again")
    file.write_bytes(data)
    repaired(store)
    assert [u.text for u in store.utterances("d")] == ["text 0", "text 1", "a later text"]
    assert [record["text"] for record in store.quarantine.records()] == ["text 2"]
    check_whole(store)


@pytest.mark.parametrize("order", [p for p in itertools.permutations((1, 2, 3, 5)) if p != (1, 2, 3, 5)])
def test_exchanged_files_are_reassigned_to_their_texts(store, order):
    """Two, cycles of three and of four, within a domain and across two."""
    before = texts_and_sounds(store)
    targets = dict(zip((1, 2, 3, 5), order, strict=True))
    rearrange(store, targets)
    moved = sum(number != target for number, target in targets.items())
    assert repaired(store) == [EXCHANGED] * moved
    assert texts_and_sounds(store) == before
    check_whole(store)


def test_an_exchange_beside_a_genuine_edit(store):
    rearrange(store, {1: 2, 2: 1})
    store.get(3).audio.write_bytes(encode(audio(9)))
    assert sorted(repaired(store)) == ["recordings that were edited", EXCHANGED, EXCHANGED]
    assert [(u.text, u.audio.read_bytes()) for u in store.utterances("d")] == [
        ("text 0", encode(audio(0))),
        ("text 1", encode(audio(1))),
        ("text 2", encode(audio(9))),
    ]
    check_whole(store)


def test_a_file_that_was_exchanged_and_edited_gets_no_text(store):
    """Whose recording the edited file was, nobody knows: it is unlabelled, and the text is in the quarantine."""
    rearrange(store, {2: 3, 3: 2})
    store.get(3).audio.write_bytes(encode(audio(9)))  # what was utterance 2's
    repaired(store)
    assert [(u.number, u.audio.read_bytes()) for u in store.utterances("d")] == [
        (1, encode(audio(0))),
        (3, encode(audio(2))),
    ]
    assert [(u.text, u.audio.read_bytes()) for u in store.utterances("recovered")] == [(None, encode(audio(9)))]
    assert [record["text"] for record in store.quarantine.records()] == ["text 1"]
    check_whole(store)


def test_a_text_is_not_assigned_to_the_recording_that_overwrote_its_own(store):
    store.get(4).audio.unlink()  # the only other file with utterance 1's recording
    store.get(1).audio.write_bytes(encode(audio(4)))
    overwritten, missing = examine(store)
    assert overwritten.line.endswith("holds the recording of utterance 5")
    assert missing.kind == "utterances whose audio is missing"
    repaired(store)
    assert ("d", "text 0", encode(audio(4))) not in texts_and_sounds(store)
    assert {record["text"] for record in store.quarantine.records()} == {"text 0", "another text"}
    check_whole(store)


def test_an_overwritten_file_is_replaced_by_its_backup(store):
    before = texts_and_sounds(store)
    (store.audio_folder / "backup.flac").write_bytes(store.get(2).audio.read_bytes())
    store.get(2).audio.write_bytes(store.get(3).audio.read_bytes())
    repaired(store)
    assert texts_and_sounds(store) == before
    check_whole(store)


def test_a_damaged_file_is_replaced_by_its_backup_and_kept_in_the_quarantine(store):
    before = texts_and_sounds(store)
    (store.audio_folder / "backup.flac").write_bytes(store.get(2).audio.read_bytes())
    store.get(2).audio.write_bytes(b"rubbish")
    repaired(store)
    assert texts_and_sounds(store) == before
    assert [path.read_bytes() for path in store.quarantine.folder.glob("*.flac")] == [b"rubbish"]
    check_whole(store)


def test_an_exchange_that_was_undone_before_the_answer_changes_nothing(store):
    before = texts_and_sounds(store)
    rearrange(store, {1: 2, 2: 1})
    findings = examine(store)
    rearrange(store, {1: 2, 2: 1})
    repair(store, findings)
    assert texts_and_sounds(store) == before
    check_whole(store)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    contents=st.lists(st.sampled_from(["gone", "rubbish", 0, 1, 2, 4, 9]), min_size=5, max_size=5),
    beside=st.lists(st.sampled_from([0, 1, 2, 4, 8]), max_size=3),
)
def test_no_text_is_ever_assigned_to_another_recording(tmp_path_factory, contents, beside):
    """Any content of any file, and files beside them: repaired once, the store is whole and no text is lost."""
    folder = tmp_path_factory.mktemp("store")
    owners = {encode(audio(seed)): seed for seed in (0, 1, 2, 4)}
    with Store(folder) as store:
        store.add([new(seed, text=f"text {seed}") for seed in range(3)])
        store.add([new(0, domain="e", text="text 0 of e"), new(4, domain="e", text="text 4")])
        texts = {u.text for u in store.utterances()}
        for utterance, content in zip(list(store.utterances()), contents, strict=True):
            if content == "gone":
                utterance.audio.unlink()
            else:
                utterance.audio.write_bytes(b"rubbish" if content == "rubbish" else encode(audio(content)))
        for index, seed in enumerate(beside):
            (store.audio_folder / f"{index}.flac").write_bytes(encode(audio(seed)))
        sounds = {path.read_bytes() for path in store.audio_folder.rglob("*.flac")}
        repaired(store, missing_is_gone=True)
        check_whole(store)
        for utterance in store.utterances():
            owner = owners.get(utterance.audio.read_bytes())
            assert owner is None or utterance.text is None or utterance.text.startswith(f"text {owner}")
        kept = {u.text for u in store.utterances()} | {record["text"] for record in store.quarantine.records()}
        assert texts <= kept
        assert sounds <= {path.read_bytes() for path in folder.rglob("*.flac")}
    shutil.rmtree(folder)
