import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.orthography import Typography, as_the_model_writes, differs
from device_app.scoring import basic


@pytest.mark.parametrize(
    ("label", "heard", "written"),
    [
        (
            "we had one drive the whole game for score",
            "We had one driver, the whole game.",
            "We had one drive, the whole game for score.",
        ),
        ("there's no time to waste", "There is no time to waste.", "There's no time to waste."),
        ("seven five two", "752.", "Seven five two."),
        ("mister john went", "Mr. John went!", "Mister John went!"),
        ("is it mine", "is it mine", "is it mine"),
        ("Already. Written!", "already written", "Already. Written!"),
        ("hello", "", "hello"),
    ],
)
def test_a_label_is_written_as_the_model_writes(label, heard, written):
    assert as_the_model_writes(label, heard) == written


words = st.lists(st.text("abcdef'", min_size=1, max_size=6).filter(basic), min_size=1, max_size=8).map(" ".join)


@given(words, st.lists(st.text("abcdefGH.,?7", max_size=5), max_size=8).map(" ".join))
def test_no_word_is_changed_but_in_case_and_marks(label, heard):
    assert basic(as_the_model_writes(label, heard)) == basic(label)


def test_lower_case_labels_differ_from_what_the_model_writes():
    heard = ["We went home, and slept.", "Did you?"]
    assert differs(["we went home and slept", "did you"], heard)
    assert not differs(["We went home, and slept.", "Did you?"], heard)


def test_typography_counts_capitals_and_marks():
    assert Typography.of(["Hello there, Anna.", "yes"]) == Typography(capitals=0.5, marks=0.5)
