import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.evaluation.error_rates import basic
from device_app.evaluation.orthography import Typography, differs_in_style, in_model_style

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
        # A misrecognised utterance begins and ends as usual, and its words get no mark.
        ("he had jumped from", "He has a temple from", "He had jumped from."),
        ("you are my heart now", "", "You are my heart now."),
        ("they thought she was going", "Say, sing, he, bus goings", "They thought she was going."),
        ("remember that role", 'Remember that, "God"', "Remember that role."),
    ],
)
def test_a_label_is_rewritten_in_the_style_of_the_model(label, hypothesis, written):
    assert in_model_style([label, *USUAL], [hypothesis, *USUAL]) == [written, *USUAL]


def test_misrecognised_words_get_the_most_frequent_mark():
    digits = ["Seven, five, two, eight.", "Zero, four, six."]
    written = in_model_style(["one nine two one", "four four", *digits], ["One, five and two, one.", "", *digits])
    assert written[:2] == ["One, nine, two, one.", "Four, four."]


def test_a_style_without_capitals_and_marks_is_followed():
    assert in_model_style(["is it mine", "and so on"], ["is it mine", ""]) == ["is it mine", "and so on"]


words = st.lists(st.text("abcdef'", min_size=1, max_size=6).filter(basic), min_size=1, max_size=8).map(" ".join)
hypothesis_texts = st.lists(st.text("abcdefGH.,?7", max_size=5), max_size=8).map(" ".join)


@given(st.lists(st.tuples(words, hypothesis_texts), max_size=4))
def test_only_case_and_marks_of_words_change(pairs):
    labels, hypothesis = [label for label, _ in pairs], [text for _, text in pairs]
    assert list(map(basic, in_model_style(labels, hypothesis))) == list(map(basic, labels))


def test_lower_case_labels_differ_from_the_style_of_the_model():
    hypothesis = ["We went home, and slept.", "Did you?"]
    assert differs_in_style(["we went home and slept", "did you"], hypothesis)
    assert not differs_in_style(["We went home, and slept.", "Did you?"], hypothesis)


def test_typography_counts_capitals_and_marks():
    assert Typography.of(["Hello there, Anna.", "yes"]) == Typography(capitals=0.5, marks=0.5)
