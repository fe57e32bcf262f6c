"""Cues keep the limits of the guides that `device_app.recognition.subtitles` names, and lose no word."""

import itertools
import math
import unicodedata

import numpy as np
import pysrt
import pytest
import soundfile
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from device_app.audio.samples import SAMPLE_RATE, read
from device_app.data.manifest import read_manifest
from device_app.recognition.results import Transcript, TranscriptSegment, Word
from device_app.recognition.subtitles import (
    COLUMNS_PER_S,
    DELAY_S,
    LINE_COLUMNS,
    LINES,
    MAX_DURATION_S,
    MIN_DURATION_S,
    PAUSE_S,
    cues,
)
from device_app.recognition.writers import Format, render

ENGLISH = st.sampled_from(
    ["a", "the", "of", "and", "because", "I", "Mr.", "said,", "well;", "Yes.", "No!", "Really?", "extraordinary"]
)
LETTERS = st.text(st.sampled_from("ab"), min_size=1, max_size=12)
LONG = st.text(st.sampled_from("abé-/."), min_size=1, max_size=200)
CHINESE = st.text(st.sampled_from("我们今天去学校。\uff0c「」\uff01A1"), min_size=1, max_size=150)
UNSPACED = st.text(st.sampled_from("ภาษาไทยที่ကမြန်မာ"), min_size=1, max_size=150)
EMOJI = st.text(st.sampled_from("👩\N{ZERO WIDTH JOINER}💻🏽e\N{COMBINING ACUTE ACCENT}"), min_size=1, max_size=60)
ANY = st.text(st.characters(codec="utf-8"), max_size=60)
TEXTS = ENGLISH | LETTERS | LONG | CHINESE | UNSPACED | EMOJI | ANY

LENGTHS = st.sampled_from([0.0, 0.0, 0.02, 0.1, 0.3, 0.7, 1.5, 30.0])
GAPS = st.sampled_from([-0.5, 0.0, 0.0, 0.0, 0.1, 0.4, 0.999, 1.0, 3.0, 40_000.0])


def placed(texts, lengths, gaps):
    words, now = [], 0.0
    for text, length, gap in zip(texts, lengths, gaps, strict=True):
        now += gap
        words.append(Word(text, now, now + length, 0.9))
        now += length
    return words


@st.composite
def spoken(draw, texts=TEXTS, lengths=LENGTHS, gaps=GAPS):
    chosen = draw(st.lists(texts, max_size=60))
    return placed(chosen, [draw(lengths) for _ in chosen], [draw(gaps) for _ in chosen])


def steady(text, word_s=0.3, gap_s=0.0):
    """The words of a text, each of the same length."""
    texts = text.split()
    return placed(texts, [word_s] * len(texts), [gap_s] * len(texts))


def visible(text):
    """Without white space and control characters."""
    return "".join(c for c in text if not c.isspace() and unicodedata.category(c) != "Cc")


def texts_of(found):
    return [cue.text for cue in found]


@given(spoken())
def test_every_word_is_shown_once_and_in_order(words):
    found = cues(words)
    assert visible("".join(texts_of(found))) == visible("".join(word.text for word in words))
    for cue in found:
        assert visible("".join(cue.lines)) == visible(cue.text)


@given(spoken(texts=LETTERS | ENGLISH))
def test_words_that_fit_a_line_stay_whole(words):
    found = cues(words)
    assert " ".join(texts_of(found)).split() == [word.text for word in words]
    assert " ".join(line for cue in found for line in cue.lines).split() == [word.text for word in words]


@given(spoken())
def test_a_cue_has_at_most_two_lines_of_42_characters(words):
    for cue in cues(words):
        assert 1 <= len(cue.lines) <= LINES
        assert len(cue.text) <= LINES * LINE_COLUMNS
        assert all(0 < len(line) <= LINE_COLUMNS and line == line.strip() for line in cue.lines)
        assert not any(character in "\n\r\t\x0b\x0c\x85\u2028\u2029" for character in cue.text)


@given(spoken())
def test_cues_do_not_overlap_and_last_until_the_next_cue_or_a_second_to_seven(words):
    found = cues(words)
    for cue, following in itertools.zip_longest(found, found[1:]):
        assert cue.start_s < cue.end_s <= cue.start_s + MAX_DURATION_S + 1e-6
        assert round(cue.start_s, 3) == cue.start_s
        assert round(cue.end_s, 3) == cue.end_s
        next_s = following.start_s if following else math.inf
        assert cue.end_s <= next_s
        wanted_s = min(MAX_DURATION_S, max(MIN_DURATION_S, len(cue.text) / COLUMNS_PER_S))
        assert cue.end_s == next_s or cue.end_s - cue.start_s >= wanted_s - 1e-3


@given(spoken(texts=LETTERS | ENGLISH, lengths=st.floats(0.05, 1.0), gaps=st.floats(0.0, 3.0)))
def test_cues_start_with_their_words_and_do_not_go_on_after_a_pause_or_a_sentence(words):
    rest = iter(words)
    for cue in cues(words):
        own = list(itertools.islice(rest, len(cue.text.split())))
        assert own[0].start_s - 1e-3 <= cue.start_s <= own[0].start_s + DELAY_S + 1e-3
        for before, after in itertools.pairwise(own):
            assert after.start_s - before.end_s < PAUSE_S + 1e-6
            assert before.text not in ("Yes.", "No!", "Really?")


def test_no_words_make_no_cues():
    assert cues([]) == []
    assert cues([Word("", 0.0, 1.0, 0.9), Word("\x00 \n", 1.0, 2.0, 0.9)]) == []


def test_two_sentences_are_two_cues():
    found = cues(steady("The first one ends here. The second one goes on."))
    assert texts_of(found) == ["The first one ends here.", "The second one goes on."]


@pytest.mark.parametrize("text", ["We saw Mr. Hale in St. Albans.", "Tea, coffee, etc. are here.", "By J. R. Smith."])
def test_an_abbreviation_does_not_end_a_sentence(text):
    assert texts_of(cues(steady(text))) == [text]


@pytest.mark.parametrize("end", ["?", "!", "…", '."', ".)", "?!"])
def test_other_marks_end_a_sentence(end):
    assert texts_of(cues(steady(f"One two three{end} Four five six"))) == [f"One two three{end}", "Four five six"]


def test_a_pause_of_a_second_begins_a_new_cue():
    words = [*steady("one two three"), Word("four", 1.9, 2.5, 0.9)]
    assert texts_of(cues(words)) == ["one two three", "four"]


def test_a_long_sentence_is_cut_at_a_clause():
    text = "After the long winter in the mountains was over at last, they went down to the valley with all their sheep."
    assert texts_of(cues(steady(text))) == [
        "After the long winter in the mountains was over at last,",
        "they went down to the valley with all their sheep.",
    ]


def test_without_clauses_a_longer_pause_is_the_better_place():
    first, second = (
        "one two three four five six seven eight nine",
        "ten eleven twelve thirteen fourteen fifteen sixteen",
    )
    words = steady(first)
    words += [Word(w.text, w.start_s + 3.3, w.end_s + 3.3, 0.9) for w in steady(second)]
    assert texts_of(cues(words)) == [first, second]


def test_lines_are_balanced_and_break_before_a_preposition_not_after_an_article():
    (cue,) = cues(steady("the quick brown fox jumps over the lazy dogs in the village street"))
    assert cue.lines == ["the quick brown fox jumps", "over the lazy dogs in the village street"]


def test_a_text_that_fits_one_line_stays_on_one():
    (cue,) = cues(steady("the quick brown fox jumps over the dog"))
    assert cue.lines == ["the quick brown fox jumps over the dog"]


def test_a_short_cue_stays_for_a_second_and_a_fast_one_until_it_can_be_read():
    short, fast = cues(
        [Word("Yes.", 1.0, 1.3, 0.9), *(Word(w, 9.0, 9.2, 0.9) for w in ["understandable", "misgivings"])]
    )
    assert (short.start_s, short.end_s) == (1.0, 2.0)
    assert fast.end_s - fast.start_s == pytest.approx(25 / 20)


def test_the_next_cue_waits_up_to_half_a_second_for_a_short_one():
    short, long = cues([Word("Yes.", 1.0, 1.3, 0.9), Word("Certainly", 1.3, 3.0, 0.9)])
    assert short.end_s == long.start_s == 1.8


def test_chinese_is_cut_between_characters_and_after_its_punctuation():
    found = cues([Word("今天天气很好。我们一起去公园散步、然后回家吃饭吧。", 0.0, 8.0, 0.9)])
    assert texts_of(found) == ["今天天气很好。", "我们一起去公园散步、然后回家吃饭吧。"]
    assert found[1].start_s == pytest.approx(8 * 7 / 25, abs=0.001)
    long = cues([Word("学" * 90, 0.0, 20.0, 0.9)])
    assert all(len(line) <= LINE_COLUMNS / 2 for cue in long for line in cue.lines)  # a character takes two columns


def test_words_at_one_time_share_the_time_until_the_next():
    found = cues([Word("understanding", 5.0, 5.0, 0.5)] * 30 + [Word("end", 60.0, 61.0, 0.9)])
    assert all(cue.end_s - cue.start_s >= MIN_DURATION_S for cue in found)
    assert found[-1].text == "end"


@given(spoken())
def test_srt_vtt_and_tsv_read_back_in_other_parsers(words):
    check_files(Transcript([TranscriptSegment(0.0, 1.0, "", words)], 1.0))


def check_files(transcript):
    """Loads the three formats with parsers that are not ours and compares times and texts."""
    expected = [(round(1000 * cue.start_s), round(1000 * cue.end_s), list(cue.lines)) for cue in cues(transcript.words)]
    srt = pysrt.from_string(render(transcript, Format.SRT, "x.wav"))
    assert [(item.start.ordinal, item.end.ordinal, item.text.split("\n")) for item in srt] == expected
    assert [item.index for item in srt] == [*range(1, len(expected) + 1)]
    vtt = webvtt.from_string(render(transcript, Format.VTT, "x.vtt"), strict=True)
    unescaped = [[unescape(line) for line in caption.lines] for caption in vtt]
    assert [(milliseconds(c.start), milliseconds(c.end), x) for c, x in zip(vtt, unescaped, strict=True)] == expected
    rows = [line.split("\t") for line in render(transcript, Format.TSV, "x.wav").split("\n")[1:-1]]
    assert [(int(start), int(end)) for start, end, _ in rows] == [(start, end) for start, end, _ in expected]
    assert [visible(text) for *_, text in rows] == [visible("".join(lines)) for *_, lines in expected]


def unescape(text):
    assert not {"<", ">"} & set(text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def milliseconds(text):
    hours, minutes, seconds = text.split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000 + round(float(seconds) * 1000)


@pytest.mark.slow
@pytest.mark.corpus
def test_half_an_hour_of_read_speech_keeps_all_limits(transcriber, corpus, tmp_path):
    path = tmp_path / "half-hour.flac"
    join(corpus("read-speech"), path, 1800.0)
    transcript = transcriber.transcribe_file(path)
    found = cues(transcript.words)
    check_files(transcript)
    assert " ".join(texts_of(found)).split() == [word.text for word in transcript.words]
    assert len(found) > 300
    rest = iter(transcript.words)
    for cue, following in itertools.pairwise(found):
        own = list(itertools.islice(rest, len(cue.text.split())))
        duration_s = cue.end_s - cue.start_s
        assert len(cue.lines) <= LINES
        assert all(len(line) <= LINE_COLUMNS for line in cue.lines)
        assert duration_s <= MAX_DURATION_S
        assert cue.end_s == following.start_s or duration_s >= MIN_DURATION_S
        assert all(after.start_s - before.end_s < PAUSE_S for before, after in itertools.pairwise(own))
        ends = [word.text for word in own[:-1] if word.text.endswith((".", "!", "?"))]
        assert set(ends) <= {"Mr.", "Mrs.", "Dr."}
    fast = sum(len(cue.text) > COLUMNS_PER_S * (cue.end_s - cue.start_s) for cue in found)
    short = sum(cue.end_s - cue.start_s < MIN_DURATION_S for cue in found)
    assert fast < 0.1 * len(found)
    assert short < 0.05 * len(found)


def join(manifest, path, seconds):
    """Joins the recordings of a manifest, over and over, with pauses of 0.1 to 2.5 s, until they last `seconds`."""
    pauses = itertools.cycle([0.1, 0.4, 0.7, 1.0, 1.3, 1.9, 2.5])
    recordings = [read(line.file) for line in read_manifest(manifest)]
    left = round(seconds * SAMPLE_RATE)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        for audio in itertools.cycle(recordings):
            padded = np.concatenate([audio, np.zeros(round(next(pauses) * SAMPLE_RATE), np.float32)])
            file.write(padded[:left])
            left -= len(padded)
            if left <= 0:
                return
