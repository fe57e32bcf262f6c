"""The order of prompts and the saving of takes, without a microphone."""

import numpy as np
import pytest

from device_app.data.store import Store
from device_app.recording.quality import Quality
from device_app.recording.session import RecordingSession, Take
from editing.errors import BadInputError

FINE = Quality(clipped=0.0, level_dbfs=-20.0, snr_db=40.0, speech_s=1.0, cut_start=False, cut_end=False)
PROMPTS = ["first one", "second one", "third one"]


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as opened:
        yield opened


@pytest.fixture
def take(noise):
    seeds = iter(range(100))
    return lambda hypothesis="": Take(noise(1.0, seed=next(seeds)), FINE, hypothesis, 0.5)


def test_prompts_are_offered_in_order_until_all_are_recorded(store, take):
    session = RecordingSession(store, "anna", PROMPTS)
    for number, prompt in enumerate(PROMPTS):
        assert session.current.prompt == prompt
        assert session.done == number
        session.save(take(prompt), prompt)
    assert session.current is None
    assert session.seconds == pytest.approx(3.0)


def test_the_next_session_continues_and_offers_skipped_prompts(store, take):
    session = RecordingSession(store, "anna", PROMPTS)
    session.skip()
    session.save(take(), session.current.text)
    again = RecordingSession(store, "anna", PROMPTS)
    assert (again.done, again.current.prompt) == (1, "first one")


def test_a_prompt_with_an_edited_text_is_not_offered_again(store, take):
    session = RecordingSession(store, "anna", PROMPTS)
    session.save(take(), "the first one, I said")
    assert RecordingSession(store, "anna", PROMPTS).current.prompt == "second one"


def test_prompts_with_misrecognised_words_are_offered_first(store, take):
    session = RecordingSession(store, "anna", ["a cat", "a dog", "a third cat"])
    session.save(take("a cap"), "a cat")
    assert session.current.prompt == "a third cat"


def test_recording_again_after_going_back_keeps_the_number(store, take):
    session = RecordingSession(store, "anna", PROMPTS)
    first = session.save(take(), "first one")
    assert session.back()
    assert session.current.stored == first
    assert not session.back()
    replaced = session.save(take("better"), "first one")
    assert (replaced.number, replaced.hypothesis) == (first.number, "better")
    assert replaced.sha256 != first.sha256
    assert session.current.prompt == "second one"
    assert len(list(store.utterances())) == 1


def test_deleting_offers_only_prompts_of_this_session_that_no_other_recording_has(store, take):
    RecordingSession(store, "anna", ["of another file"]).save(take(), "of another file")
    session = RecordingSession(store, "anna", PROMPTS[:1])
    session.back()
    session.delete()
    assert (session.done, session.current.prompt) == (0, "first one")
    for _ in range(2):
        session.choose("first one")
        session.save(take(), "first one")
    for done in (1, 0):
        session.back()
        session.delete()
        assert session.done == done
    assert session.current.prompt == "first one"


def test_going_forward_visits_the_saved_recordings(store, take):
    session = RecordingSession(store, "anna", PROMPTS)
    ids = [session.save(take(), session.current.text).number for _ in range(2)]
    session.back()
    session.back()
    assert session.current.stored.number == ids[0]
    session.forward()
    assert session.current.stored.number == ids[1]
    session.forward()
    assert (session.current.stored, session.current.prompt) == (None, "third one")


def test_each_speaker_of_a_shared_domain_reads_all_prompts(store, take):
    RecordingSession(store, "home", PROMPTS, "anna").save(take(), "first one")
    ben = RecordingSession(store, "home", PROMPTS, "ben")
    assert (ben.done, ben.current.prompt) == (0, "first one")


def test_free_speech_has_no_end(store, take):
    session = RecordingSession(store, "anna", None)
    session.save(take("hello"), "hello")
    session.save(take(), None)
    assert (session.total, session.done, session.current.prompt) == (None, 2, None)
    assert [u.text for u in store.utterances("anna")] == ["hello", None]


def test_identical_takes_of_a_muted_microphone_are_refused(store, take):
    session = RecordingSession(store, "anna", PROMPTS)
    silence = Take(np.zeros(16000, np.float32), FINE, "", 0.0)
    session.save(silence, session.current.text)
    prompt = session.current.prompt
    with pytest.raises(BadInputError, match="is the microphone muted"):
        session.save(silence, session.current.text)
    assert session.current.prompt == prompt
    session.save(take(), prompt)
    assert session.done == 2
