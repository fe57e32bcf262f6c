import pytest

from device_app.adaptation.gate import Hypotheses, compare, judge
from device_app.data.names import GUARD_SET

SAID = [f"this is sentence number {word}" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")]
RIGHT = Hypotheses(SAID, SAID)
UNHARMED = {GUARD_SET: RIGHT}


def wrong(*places):
    """What is heard where the last word of some sentences is lost."""
    return Hypotheses(SAID, [text.rsplit(" ", 1)[0] if place in places else text for place, text in enumerate(SAID)])


def test_wer_is_over_all_words():
    assert wrong(0, 1).wer == pytest.approx(2 / 40)
    change = compare(wrong(0, 1, 2, 3), wrong(0))
    assert (change.before, change.after) == (pytest.approx(4 / 40), pytest.approx(1 / 40))
    assert change.low <= change.difference <= change.high < 0
    assert change.surely_better > 0.9


def test_versions_must_have_heard_the_same():
    with pytest.raises(ValueError, match="same utterances"):
        compare(RIGHT, Hypotheses(SAID[:3], SAID[:3]))


def test_a_domain_that_is_heard_better_passes():
    before = {"anna": wrong(0, 1, 2, 3), **UNHARMED}
    assert judge(before, {"anna": RIGHT, **UNHARMED}, "anna", 0.01).passes


def test_a_domain_that_is_not_heard_better_does_not_pass():
    before = {"anna": wrong(0), **UNHARMED}
    verdict = judge(before, {"anna": wrong(1), **UNHARMED}, "anna", 0.01)
    assert "anna is not recognised better" in verdict.reasons[0]


def test_a_gain_by_one_utterance_of_many_may_be_chance():
    before = {"anna": wrong(0, 1), **UNHARMED}
    verdict = judge(before, {"anna": wrong(1), **UNHARMED}, "anna", 0.01)
    assert "by chance" in verdict.reasons[0]


def test_what_is_perfect_cannot_gain():
    verdict = judge({"anna": RIGHT, **UNHARMED}, {"anna": RIGHT, **UNHARMED}, "anna", 0.01)
    assert "nothing to gain" in verdict.reasons[0]


@pytest.mark.parametrize("harmed", ["ben", GUARD_SET])
def test_harm_to_another_domain_or_to_general_speech_keeps_a_version_out(harmed):
    before = {"anna": wrong(0, 1, 2, 3), "ben": RIGHT, GUARD_SET: RIGHT}
    after = {"anna": RIGHT, "ben": RIGHT, GUARD_SET: RIGHT, harmed: wrong(0, 1, 2, 3)}
    verdict = judge(before, after, "anna", 0.01)
    assert len(verdict.reasons) == 1
    assert "recognised worse: WER 0.0% before, 10.0% after, more than 1 points" in verdict.reasons[0]
    assert judge(before, after, "anna", 0.11).passes


def test_one_word_lost_in_a_small_set_is_no_proof_of_harm():
    before = {"anna": wrong(0, 1, 2, 3), "ben": RIGHT, GUARD_SET: RIGHT}
    assert judge(before, {"anna": RIGHT, "ben": wrong(5), GUARD_SET: RIGHT}, "anna", 0.01).passes


def test_a_loss_about_as_large_as_the_tolerance_is_no_proof_that_it_is_larger():
    before = {GUARD_SET: Hypotheses([*SAID, *SAID], [*SAID, *SAID])}  # 80 words
    after = {GUARD_SET: Hypotheses([*SAID, *SAID], [*wrong(0, 1, 2, 3, 4).hypotheses, *SAID])}
    assert judge(before, after, None, 0.05).passes  # 6.2 points, but no more than 5 in two of five resamples
    assert not judge(before, after, None, 0.03).passes


def test_without_a_new_domain_only_harm_counts():
    assert judge({"ben": wrong(0)}, {"ben": wrong(0)}, None, 0.01).passes


def test_the_typography_of_general_speech_is_told():
    before = {GUARD_SET: Hypotheses(["hello there"], ["Hello, there."])}
    verdict = judge(before, {GUARD_SET: Hypotheses(["hello there"], ["hello there"])}, None, 0.01)
    assert [round(t.capitals + t.marks, 1) for t in verdict.typography] == [1.5, 0.0]
