import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.recognition.results import Transcript, TranscriptSegment, Word
from device_app.recognition.writers import Format, render, timestamp


def segment(*words, start_s=0.0, word_s=1.0):
    placed = [Word(text, start_s + i * word_s, start_s + (i + 0.5) * word_s, 0.9) for i, text in enumerate(words)]
    return TranscriptSegment(start_s, start_s + len(words) * word_s, " ".join(words), placed)


TWO = Transcript([segment("Hello,", "world."), segment("A", "<b>", "&", "-->", start_s=3661.0)], 3700.0)


@given(st.integers(0, 10**8))
def test_timestamps_keep_every_millisecond(milliseconds):
    hours, minutes, seconds = timestamp(milliseconds / 1000, ".").split(":")
    assert (int(hours) * 60 + int(minutes)) * 60_000 + round(float(seconds) * 1000) == milliseconds


def test_txt_has_one_line_per_segment():
    assert render(TWO, Format.TXT, "x.wav") == "Hello, world.\nA <b> & -->\n"


def test_json_has_words_with_times_and_confidence():
    record = json.loads(render(TWO, Format.JSON, "x.wav"))
    assert (record["file"], record["duration_s"], record["text"]) == (
        "x.wav",
        3700.0,
        "Hello, world. A <b> & -->",
    )
    assert record["utterances"][0]["words"][1] == {
        "text": "world.",
        "start_s": 1.0,
        "end_s": 1.5,
        "confidence": 0.9,
    }


def test_jsonl_has_one_document_per_segment():
    lines = [json.loads(line) for line in render(TWO, Format.JSONL, "x.wav").splitlines()]
    assert [line["start_s"] for line in lines] == [0.0, 3661.0]
    assert {line["file"] for line in lines} == {"x.wav"}


def test_srt_numbers_its_cues():
    assert render(TWO, Format.SRT, "x.wav") == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello, world.\n\n2\n01:01:01,000 --> 01:01:04,500\nA <b> & -->\n\n"
    )


def test_vtt_escapes_what_would_be_markup():
    assert render(TWO, Format.VTT, "x.wav") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello, world.\n\n"
        "01:01:01.000 --> 01:01:04.500\nA &lt;b&gt; &amp; --&gt;\n\n"
    )


def test_tsv_has_one_line_per_cue_and_times_in_milliseconds():
    assert render(TWO, Format.TSV, "x.wav").splitlines() == [
        "start\tend\ttext",
        "0\t1500\tHello, world.",
        "3661000\t3664500\tA <b> & -->",
    ]


@pytest.mark.parametrize("form", Format)
def test_a_transcript_without_words_is_a_valid_document(form):
    rendered = render(Transcript([], 1.0), form, "x.wav")
    assert rendered in ("", "WEBVTT\n\n", "start\tend\ttext\n") or json.loads(rendered)["utterances"] == []


def test_a_cue_of_two_lines_is_one_row_of_tsv():
    text = "The quick brown fox jumps over the lazy dogs in the village street."
    long = Transcript([segment(*text.split(), word_s=0.4)], 10.0)
    assert render(long, Format.SRT, "x.wav").splitlines()[2:4] == [
        "The quick brown fox jumps",
        "over the lazy dogs in the village street.",
    ]
    assert render(long, Format.TSV, "x.wav").splitlines()[1].split("\t")[2] == text
