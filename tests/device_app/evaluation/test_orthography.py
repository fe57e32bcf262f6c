import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.evaluation.error_rates import basic
from device_app.evaluation.orthography import Typography, as_the_model_writes, differs

USUAL = ["We went home.", "Did you?", "She slept."]


@pytest.mark.parametrize(
    ("label", "hypothesis", "written"),
    [
        (
            "we had one drive the whole game for score",
            "We had one driver, the whole game.",
            "We had one drive, the whole game for score.",
        ),
        ("there's no time to waste", "There is no time to waste.", "There's no time to waste."),
        ("seven five two", "752.", "Seven five two."),
        ("mister john went", "Mr. John went!", "Mister John went!"),
        ("Already. Written!", "already written", "Already. Written!"),
        ("if you need a reminder", "If you need a reminder,", "If you need a reminder,"),
        # What was misheard begins and ends as usual, and gets no mark.
        ("he had jumped from", "He has a temple from", "He had jumped from."),
        ("you are my heart now", "", "You are my heart now."),
        ("they thought she was going", "Say, sing, he, bus goings", "They thought she was going."),
        ("remember that role", 'Remember that, "God"', "Remember that role."),
    ],
)
def test_a_label_is_written_as_the_model_writes(label, hypothesis, written):
    assert as_the_model_writes([label, *USUAL], [hypothesis, *USUAL]) == [written, *USUAL]


def test_where_most_words_have_a_mark_so_have_those_that_were_misheard():
    digits = ["Seven, five, two, eight.", "Zero, four, six."]
    written = as_the_model_writes(["one nine two one", "four four", *digits], ["One, five and two, one.", "", *digits])
    assert written[:2] == ["One, nine, two, one.", "Four, four."]


def test_a_model_that_writes_neither_capitals_nor_marks_is_followed():
    assert as_the_model_writes(["is it mine", "and so on"], ["is it mine", ""]) == ["is it mine", "and so on"]


words = st.lists(st.text("abcdef'", min_size=1, max_size=6).filter(basic), min_size=1, max_size=8).map(" ".join)
heards = st.lists(st.text("abcdefGH.,?7", max_size=5), max_size=8).map(" ".join)


@given(st.lists(st.tuples(words, heards), max_size=4))
def test_no_word_is_changed_but_in_case_and_marks(pairs):
    labels, hypothesis = [label for label, _ in pairs], [text for _, text in pairs]
    assert list(map(basic, as_the_model_writes(labels, hypothesis))) == list(map(basic, labels))


def test_lower_case_labels_differ_from_what_the_model_writes():
    hypothesis = ["We went home, and slept.", "Did you?"]
    assert differs(["we went home and slept", "did you"], hypothesis)
    assert not differs(["We went home, and slept.", "Did you?"], hypothesis)


def test_typography_counts_capitals_and_marks():
    assert Typography.of(["Hello there, Anna.", "yes"]) == Typography(capitals=0.5, marks=0.5)
