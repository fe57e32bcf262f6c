"""The test sets include every domain that the active version was adapted to."""

from dataclasses import replace

import pytest

from device_app.adaptation import test_sets
from device_app.adaptation.guard_set import guard_set
from device_app.adaptation.test_sets import build_test_sets, transcribe_sets
from device_app.data.importing import import_utterances
from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.data.utterance import Utterance
from device_app.models.bundles import embedded_bundle
from device_app.paths import RECORDINGS
from device_app.recognition.recordings.utterances import UtteranceTranscriber
from device_app.recognition.transcriber import Transcriber
from device_app.reporter import SilentReporter


@pytest.fixture(scope="module")
def transcriber():
    return UtteranceTranscriber(embedded_bundle())


@pytest.fixture(autouse=True)
def _small_guard_set(monkeypatch):
    one = list(test_sets.guard_set()[4:5])
    monkeypatch.setattr(test_sets, "guard_set", lambda _language="en": one)


@pytest.mark.parametrize(("held_out", "expected"), [([], ["anna", GUARD_SET]), (None, [GUARD_SET])])
def test_the_new_domain_is_a_test_set_unless_held_out_is_none(own_home, ledger, transcriber, held_out, expected):
    with Store() as store:
        found = build_test_sets(store, ledger, "anna", held_out, transcriber, SilentReporter())
    assert list(found.sets) == list(found.before) == expected
    assert found.version == 0


def test_the_active_version_transcribes_the_bundled_guard_set_once(own_home, ledger, transcriber, monkeypatch):
    with Store() as store, ledger.changing():
        first = build_test_sets(store, ledger, "anna", None, transcriber, SilentReporter())
        monkeypatch.setattr(Transcriber, "transcribe", lambda *_arguments: pytest.fail("transcribed again"))
        again = build_test_sets(store, ledger, "anna", None, transcriber, SilentReporter())
    assert again.before == first.before
    assert (
        again.bundled_guard_set == first.bundled_guard_set == test_sets.guard_set()[:1] == list(again.sets[GUARD_SET])
    )


def test_own_recordings_of_the_guard_set_follow_the_bundled_ones(own_home, ledger, transcriber):
    with Store() as store, ledger.changing():
        one = Utterance(audio=RECORDINGS / "invalid.flac", text="I am sorry.", split="test")
        import_utterances(store, [one], GUARD_SET)
        for _ in range(2):  # the second time, the bundled results are read from the cache
            found = build_test_sets(store, ledger, "anna", None, transcriber, SilentReporter())
            assert [u.transcript for u in found.sets[GUARD_SET]][1:] == ["I am sorry."]
            assert len(found.before[GUARD_SET].hypotheses) == len(found.before[GUARD_SET].outputs) == 2
            assert "sorry" in found.before[GUARD_SET].hypotheses[1]
        assert len(found.bundled_guard_set) == 1


@pytest.mark.parametrize(
    ("tolerance", "is_regression", "measured"), [(0.01, True, 2), (0.01, False, 3), (None, True, 3)]
)
def test_the_rest_of_the_guard_set_is_left_out_once_a_part_shows_a_regression(
    monkeypatch, transcriber, tolerance, is_regression, measured
):
    monkeypatch.setattr(test_sets, "GUARD_SET_PART", 2)
    monkeypatch.setattr(test_sets, "is_early_regression", lambda *_arguments: is_regression)
    sets = {GUARD_SET: guard_set()[:3], "anna": guard_set()[3:5]}
    before = transcribe_sets(transcriber, sets, SilentReporter(), "")
    after = transcribe_sets(transcriber, sets, SilentReporter(), "", before, tolerance)
    assert {name: len(one.hypotheses) for name, one in after.items()} == {"anna": 2, GUARD_SET: measured}
    assert (
        len(after[GUARD_SET].outputs) == len(after[GUARD_SET].divergences) == len(after[GUARD_SET].losses) == measured
    )
    assert after[GUARD_SET].hypotheses == before[GUARD_SET].hypotheses[:measured]


def test_a_version_does_not_diverge_from_itself(own_home, ledger, transcriber):
    with Store() as store:
        sets = build_test_sets(store, ledger, "anna", None, transcriber, SilentReporter())
    after = transcribe_sets(transcriber, sets.sets, SilentReporter(), "", sets.before)
    assert after[GUARD_SET].divergence == pytest.approx(0, abs=1e-3)
    assert 0 < after[GUARD_SET].loss == pytest.approx(sets.before[GUARD_SET].loss)


def test_a_language_without_a_guard_set_is_reported_and_own_recordings_become_one(
    own_home, ledger, transcriber, monkeypatch
):
    monkeypatch.setattr(test_sets, "guard_set", guard_set)
    ledger.base = replace(ledger.base, language="de")
    messages = []
    reporter = SilentReporter()
    monkeypatch.setattr(reporter, "report", messages.append)
    with Store() as store, ledger.changing():
        found = build_test_sets(store, ledger, "anna", None, transcriber, reporter)
        assert found.sets == found.before == {}
        assert list(found.bundled_guard_set) == []
        assert "no guard set for the language 'de'" in messages[0]
        assert "asr-edge guard add" in messages[0]
        import_utterances(
            store, [Utterance(audio=RECORDINGS / "invalid.flac", text="I am sorry.", split="test")], GUARD_SET
        )
        found = build_test_sets(store, ledger, "anna", None, transcriber, reporter)
    assert [one.transcript for one in found.sets[GUARD_SET]] == ["I am sorry."]
    assert len(messages) == 1
