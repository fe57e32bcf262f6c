"""Which sentence is next, without a microphone."""

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


def test_prompts_come_one_after_the_other_until_none_is_left(store, take):
    session = RecordingSession(store, "anna", PROMPTS)
    for number, prompt in enumerate(PROMPTS):
        assert session.current.prompt == prompt
        assert session.done == number
        session.keep(take(prompt), prompt)
    assert session.current is None
    assert session.seconds == pytest.approx(3.0)


def test_the_next_session_goes_on_and_offers_what_was_skipped(store, take):
    session = RecordingSession(store, "anna", PROMPTS)
    session.skip()
    session.keep(take(), session.current.text)
    again = RecordingSession(store, "anna", PROMPTS)
    assert (again.done, again.current.prompt) == (1, "first one")


def test_an_edited_text_does_not_bring_the_prompt_back(store, take):
    session = RecordingSession(store, "anna", PROMPTS)
    session.keep(take(), "the first one, I said")
    assert RecordingSession(store, "anna", PROMPTS).current.prompt == "second one"


def test_prompts_with_words_that_were_misheard_are_offered_first(store, take):
    session = RecordingSession(store, "anna", ["a cat", "a dog", "a third cat"])
    session.keep(take("a cap"), "a cat")
    assert session.current.prompt == "a third cat"


def test_going_back_records_again_under_the_same_number(store, take):
    session = RecordingSession(store, "anna", PROMPTS)
    first = session.keep(take(), "first one")
    assert session.back()
    assert session.current.stored == first
    assert not session.back()
    replaced = session.keep(take("better"), "first one")
    assert (replaced.number, replaced.hypothesis) == (first.number, "better")
    assert replaced.sha256 != first.sha256
    assert session.current.prompt == "second one"
    assert len(list(store.utterances())) == 1


def test_going_forward_leads_through_what_was_kept(store, take):
    session = RecordingSession(store, "anna", PROMPTS)
    ids = [session.keep(take(), session.current.text).number for _ in range(2)]
    session.back()
    session.back()
    assert session.current.stored.number == ids[0]
    session.forward()
    assert session.current.stored.number == ids[1]
    session.forward()
    assert (session.current.stored, session.current.prompt) == (None, "third one")


def test_people_who_share_a_domain_each_read_all_prompts(store, take):
    RecordingSession(store, "home", PROMPTS, "anna").keep(take(), "first one")
    ben = RecordingSession(store, "home", PROMPTS, "ben")
    assert (ben.done, ben.current.prompt) == (0, "first one")


def test_free_speech_never_ends(store, take):
    session = RecordingSession(store, "anna", None)
    session.keep(take("hello"), "hello")
    session.keep(take(), None)
    assert (session.total, session.done, session.current.prompt) == (None, 2, None)
    assert [u.text for u in store.utterances("anna")] == ["hello", None]


def test_two_takes_of_a_muted_microphone_are_not_two_recordings(store, take):
    session = RecordingSession(store, "anna", PROMPTS)
    silence = Take(np.zeros(16000, np.float32), FINE, "", 0.0)
    session.keep(silence, session.current.text)
    prompt = session.current.prompt
    with pytest.raises(BadInputError, match="is the microphone muted"):
        session.keep(silence, session.current.text)
    assert session.current.prompt == prompt
    session.keep(take(), prompt)
    assert session.done == 2
