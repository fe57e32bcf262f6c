"""Utterances are recognised side by side; the results are those of one after the other."""

import threading

import pytest

from device_app.data.utterance import Utterance
from device_app.models.bundles import embedded_bundle
from device_app.paths import RECORDINGS
from device_app.recognition.recordings.utterances import UtteranceTranscriber
from editing.errors import BadAudioError, BadInputError


@pytest.fixture(scope="module")
def side_by_side():
    return UtteranceTranscriber(embedded_bundle(), threads=2)


@pytest.fixture
def utterances():
    return [Utterance(audio=path, text="") for path in sorted(RECORDINGS.glob("*.flac"))[:4]]


def test_texts_are_those_of_a_transcriber_in_the_same_order(side_by_side, utterances, transcriber):
    done = []
    texts = side_by_side.texts(utterances, done.append)
    assert texts == [transcriber.transcribe(one.read(), 16_000).text for one in utterances]
    assert len(set(texts)) > 1
    assert done == [1] * len(utterances)


def test_as_many_utterances_at_a_time_as_there_are_threads(side_by_side, utterances):
    both_started = threading.Barrier(2, timeout=30)
    assert side_by_side.map(lambda _transcriber, index, _one: (both_started.wait(), index)[1], utterances[:2]) == [0, 1]


def test_an_error_ends_it_and_the_utterances_after_it_are_not_begun(side_by_side, utterances):
    begun, never = [], threading.Event()

    def function(_transcriber, index, _one):
        begun.append(index)
        if index == 0:
            raise BadAudioError("cannot be read")
        never.wait(0.2)

    with pytest.raises(BadAudioError, match="cannot be read"):
        side_by_side.map(function, utterances[:3] * 20)
    assert len(begun) < 60


@pytest.mark.parametrize("threads", [0, -1, 1.5])
def test_an_impossible_number_of_threads_is_refused(bundle, threads):
    with pytest.raises(BadInputError, match="threads"):
        UtteranceTranscriber(bundle, threads)


def test_a_recording_that_cannot_be_read_is_an_error(side_by_side, tmp_path):
    (tmp_path / "empty.flac").write_bytes(b"")
    with pytest.raises(BadAudioError, match=r"empty\.flac"):
        side_by_side.texts([Utterance(audio=tmp_path / "empty.flac", text="")])
