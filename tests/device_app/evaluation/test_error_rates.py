import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.evaluation.error_rates import NORMALISERS, align, align_all, basic, english, error_counts, error_rates


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't re-enter: it\N{RIGHT SINGLE QUOTATION MARK}s 5 o'clock!", "don't re enter it's 5 o'clock"),
        ("  'quoted'  ...and -- dashed ", "quoted and dashed"),
        (
            "\N{LATIN CAPITAL LETTER E WITH ACUTE}TUDE  3.5 kg",
            "\N{LATIN SMALL LETTER E WITH ACUTE}tude 3 5 kg",
        ),
        ("", ""),
        ("?!", ""),
    ],
)
def test_basic_removes_case_and_punctuation(text, expected):
    assert basic(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's colour 42, Mr. Smith", "it is color 4 2 mister smith"),
        ("one nine eight four", "1 9 8 4"),
        ("nineteen eighty four", "1 9 8 4"),
        ("zero six two", "0 6 2"),
        ("", ""),
    ],
)
def test_english_normalises_spelling_and_numbers(text, expected):
    assert english(text) == expected


@given(st.text())
def test_basic_is_idempotent(text):
    assert basic(basic(text)) == basic(text)


def test_known_rates():
    """Counted by hand: one substitution and one deletion in four words; six of sixteen characters."""
    rates = error_rates(["the cat sat down"], ["the bat sat"], basic)
    assert rates.wer == pytest.approx(2 / 4)
    assert rates.cer == pytest.approx(6 / 16)


def test_an_empty_hypothesis_counts_as_deletions():
    assert error_rates(["one two", "three"], ["one two", ""], basic).wer == pytest.approx(1 / 3)


@pytest.mark.parametrize(("hypothesis", "rate"), [("", 0.0), ("something", 1.0)])
def test_rates_without_reference_words_are_0_or_1(hypothesis, rate):
    assert error_rates([""], [hypothesis], basic).wer == rate


def test_words_recognised_for_an_empty_reference_count_as_insertions():
    assert error_rates(["", "a b"], ["x", "a b"], basic).wer == pytest.approx(1 / 2)


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        error_rates(["a", "b"], ["a"], basic)


def test_both_normalisers_are_always_used():
    assert align_all(["a"], ["a"]).keys() == NORMALISERS.keys() == {"english", "basic"}


def test_alignment_shows_each_kind_of_error():
    shown = align(["the cat sat down"], ["a the bat sat"], basic).table(0)
    assert shown.splitlines() == [
        "REF: * the cat sat down",
        "HYP: a the bat sat ****",
        "     I     S       D",
    ]


def test_a_long_alignment_is_wrapped():
    text = " ".join(["word"] * 60)
    lines = align([text], [text], basic).table(0, width=80).split("\n")
    assert len(lines) == 3 * 4
    assert max(map(len, lines)) <= 80


texts = st.lists(st.tuples(st.text("ab ", max_size=8), st.text("ab ", max_size=8)), max_size=5)


@given(texts)
def test_rates_equal_those_of_jiwer_and_match_the_counts(pairs):
    references, hypotheses = [r for r, _ in pairs], [h for _, h in pairs]
    rates = error_rates(references, hypotheses, basic)
    wrong, words = error_counts(references, hypotheses, basic).sum(axis=0)
    if words:
        normal = [[basic(text) for text in side] for side in (references, hypotheses)]
        assert (rates.wer, rates.cer) == (jiwer.wer(*normal), jiwer.cer(*normal))
        assert rates.wer == wrong / words
    else:
        assert rates.wer == rates.cer == bool(wrong)


@given(texts, st.data())
def test_rates_of_chosen_utterances_equal_those_computed_from_them_alone(pairs, data):
    chosen = data.draw(st.lists(st.integers(0, len(pairs) - 1), unique=True) if pairs else st.just([]))
    references, hypotheses = [r for r, _ in pairs], [h for _, h in pairs]
    alone = error_rates([references[i] for i in chosen], [hypotheses[i] for i in chosen], basic)
    assert align(references, hypotheses, basic).rates(chosen) == alone
