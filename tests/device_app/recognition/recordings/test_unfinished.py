"""An interrupted transcription continues with the segments that were recognised before."""

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.audio.samples import SAMPLE_RATE
from device_app.recognition.recordings.unfinished import UnfinishedTranscript
from device_app.recognition.results import Recognition, Word

SEGMENT_S = 0.1
MIN_SPEECH_S = 0.4
MOST = 8
SEGMENTS = [np.full(round(SEGMENT_S * SAMPLE_RATE), n / 16, np.float32) for n in range(MOST)]
RESULTS = [Recognition(f"word{n} \u2028é", [Word(f"word{n}", 0.1 * n, 1 / 3, 0.7 + n / 97)]) for n in range(MOST)]


@pytest.fixture(scope="module", autouse=True)
def kept_early():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("device_app.recognition.recordings.unfinished.MIN_SPEECH_S", MIN_SPEECH_S)
        yield


class Recogniser:
    def __init__(self):
        self.calls = []

    def recognise(self, audio, *, is_draft=False):
        index = round(float(audio[0]) * 16)
        self.calls.append(index)
        return RESULTS[index]

    def with_keyterms(self, keyterms):
        return self


def recognised(output, segments, identity="model"):
    """Recognises segments with an unfinished transcript; returns it, the results and what had to be recognised."""
    results, recogniser = UnfinishedTranscript(output, identity), Recogniser()
    wrapped = results.wrap(recogniser)
    return results, [wrapped.recognise(SEGMENTS[n]) for n in segments], recogniser.calls


def test_a_second_run_recognises_only_what_the_first_did_not(tmp_path):
    recognised(tmp_path / "talk.txt", range(5))
    results, texts, calls = recognised(tmp_path / "talk.txt", range(7))
    assert texts == RESULTS[:7]
    assert calls == [5, 6]
    assert results.path.name == "talk.txt.unfinished"
    results.remove()
    assert not any(tmp_path.iterdir())


def test_short_recordings_get_no_file(tmp_path):
    results, _texts, _calls = recognised(tmp_path / "talk.txt", range(3))
    assert not results.has_file
    assert not any(tmp_path.iterdir())


def test_results_of_another_model_or_other_options_are_replaced(tmp_path):
    recognised(tmp_path / "talk.txt", range(5), "one")
    assert recognised(tmp_path / "talk.txt", range(5), "two")[2] == [0, 1, 2, 3, 4]
    assert recognised(tmp_path / "talk.txt", range(5), "two")[2] == []


@pytest.mark.parametrize("content", [b"my notes\n", b"", b'{"kind": "other"}\n', b"\xff\xfe"])
def test_a_file_of_that_name_from_elsewhere_is_left_alone(tmp_path, content):
    foreign = tmp_path / "talk.txt.unfinished"
    foreign.write_bytes(content)
    results, texts, calls = recognised(tmp_path / "talk.txt", range(5))
    results.remove()
    assert (texts, calls) == (RESULTS[:5], [0, 1, 2, 3, 4])
    assert foreign.read_bytes() == content


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "talk.txt.unfinished").symlink_to("precious")
    recognised(tmp_path / "talk.txt", range(5))[0].remove()
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_folder_that_cannot_be_written_does_not_end_the_transcription(tmp_path):
    results, texts, _calls = recognised(tmp_path / "missing" / "talk.txt", range(6))
    assert texts == RESULTS[:6]
    assert not results.has_file


def test_a_full_disk_leaves_no_file_that_nobody_knows(tmp_path, monkeypatch):
    original = os.open

    def full(_path, *_how):
        """A descriptor that can be opened but not written; the file exists."""
        os.close(original(*(_path, *_how)))
        return original("/dev/full", os.O_RDWR)

    monkeypatch.setattr(os, "open", full)
    results, texts, _calls = recognised(tmp_path / "talk.txt", range(6))
    assert texts == RESULTS[:6]
    assert not results.has_file
    assert not any(tmp_path.iterdir())


def test_a_draft_is_not_kept(tmp_path):
    results = UnfinishedTranscript(tmp_path / "talk.txt", "model")
    results.wrap(Recogniser()).recognise(SEGMENTS[0], is_draft=True)
    assert results.find(SEGMENTS[0]) is None


def test_results_are_not_reused_with_other_keyterms(tmp_path):
    recognised(tmp_path / "talk.txt", range(5))
    recogniser = Recogniser()
    wrapped = UnfinishedTranscript(tmp_path / "talk.txt", "model").wrap(recogniser)
    wrapped.recognise(SEGMENTS[0])
    assert recogniser.calls == []
    wrapped.with_keyterms(["cat"]).recognise(SEGMENTS[0])
    assert recogniser.calls == [0]


def test_only_the_owner_can_read_the_file(tmp_path):
    assert recognised(tmp_path / "talk.txt", range(5))[0].path.stat().st_mode & 0o777 == 0o600


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1 << 20), st.binary(max_size=20))
def test_a_file_that_was_cut_off_or_damaged_gives_valid_results_only(tmp_path_factory, place, garbage):
    output = tmp_path_factory.mktemp("cut") / "talk.txt"
    path = recognised(output, range(6))[0].path
    header, _, body = path.read_bytes().partition(b"\n")
    kept = place % (len(body) + 1)
    path.write_bytes(header + b"\n" + body[:kept] + garbage)
    _results, texts, calls = recognised(output, range(8))
    assert texts == RESULTS
    assert {6, 7} <= set(calls)
    lines = path.read_bytes().splitlines()
    assert [json.loads(line).get("text") for line in lines[1:]] == [one.text for one in RESULTS]
    assert recognised(output, range(8))[2] == []
