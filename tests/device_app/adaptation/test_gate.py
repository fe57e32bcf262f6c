from dataclasses import replace

import pytest

from device_app.adaptation.gate import MAX_DIVERGENCE, MAX_LOSS_RISE, Hypotheses, compare, is_early_regression, judge
from device_app.data.names import GUARD_SET

REFERENCES = [
    f"this is sentence number {word}" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")
]
CORRECT = Hypotheses(REFERENCES, REFERENCES)
UNCHANGED = {GUARD_SET: CORRECT}


def wrong(*places):
    """Hypotheses in which the last word of the sentences at these indices is deleted."""
    return Hypotheses(
        REFERENCES, [text.rsplit(" ", 1)[0] if place in places else text for place, text in enumerate(REFERENCES)]
    )


def test_wer_is_computed_over_all_words():
    assert wrong(0, 1).wer == pytest.approx(2 / 40)
    change = compare(wrong(0, 1, 2, 3), wrong(0))
    assert (change.before, change.after) == (pytest.approx(4 / 40), pytest.approx(1 / 40))
    assert change.low <= change.difference <= change.high < 0
    assert change.surely_better > 0.9


def test_versions_that_transcribed_different_utterances_cannot_be_compared():
    with pytest.raises(ValueError, match="same utterances"):
        compare(CORRECT, Hypotheses(REFERENCES[1:], REFERENCES[1:]))
    with pytest.raises(ValueError, match="same utterances"):
        compare(CORRECT.first(3), CORRECT)


def test_an_improved_domain_passes():
    before = {"anna": wrong(0, 1, 2, 3), **UNCHANGED}
    assert judge(before, {"anna": CORRECT, **UNCHANGED}, "anna", 0.01).passes


def test_a_domain_without_improvement_is_rejected():
    before = {"anna": wrong(0), **UNCHANGED}
    verdict = judge(before, {"anna": wrong(1), **UNCHANGED}, "anna", 0.01)
    assert "anna is not recognised better" in verdict.reasons[0]


def test_an_improvement_that_is_not_significant_is_rejected():
    before = {"anna": wrong(0, 1), **UNCHANGED}
    verdict = judge(before, {"anna": wrong(1), **UNCHANGED}, "anna", 0.01)
    assert "significantly better" in verdict.reasons[0]


def test_a_domain_without_errors_has_nothing_to_gain():
    verdict = judge({"anna": CORRECT, **UNCHANGED}, {"anna": CORRECT, **UNCHANGED}, "anna", 0.01)
    assert "nothing to gain" in verdict.reasons[0]


def test_the_code_of_a_rejection_is_that_of_its_most_important_reason():
    def rejection(anna_before, anna_after, ben=CORRECT):
        before = {"anna": anna_before, "ben": CORRECT, **UNCHANGED}
        verdict = judge(before, {"anna": anna_after, "ben": ben, **UNCHANGED}, "anna", 0.01)
        return verdict.rejection, verdict.worse

    harmed = wrong(0, 1, 2, 3)
    assert rejection(harmed, CORRECT) == (None, [])
    assert rejection(CORRECT, CORRECT) == ("nothing to gain", [])
    assert rejection(wrong(0), wrong(1)) == ("no gain", [])
    assert rejection(wrong(0, 1), wrong(1)) == ("uncertain gain", [])
    assert rejection(harmed, CORRECT, ben=harmed) == ("regression", ["ben"])
    assert rejection(wrong(0, 1), wrong(1), ben=harmed) == ("regression", ["ben"])  # more recordings would not help
    assert rejection(wrong(0), wrong(1), ben=harmed) == ("no gain", ["ben"])


@pytest.mark.parametrize("harmed", ["ben", GUARD_SET])
def test_a_regression_of_another_domain_or_of_general_speech_is_rejected(harmed):
    before = {"anna": wrong(0, 1, 2, 3), "ben": CORRECT, GUARD_SET: CORRECT}
    after = {"anna": CORRECT, "ben": CORRECT, GUARD_SET: CORRECT, harmed: wrong(0, 1, 2, 3)}
    verdict = judge(before, after, "anna", 0.01)
    assert len(verdict.reasons) == 1
    assert (
        "recognised worse: WER 0.0% before, 10.0% after, a rise of more than the tolerance of 1 percentage point"
        in verdict.reasons[0]
    )
    assert judge(before, after, "anna", 0.11).passes


def test_a_domain_may_get_worse_where_less_of_its_edit_was_asked_for():
    before, after = {"anna": CORRECT, "ben": CORRECT}, {"anna": wrong(*range(8)), "ben": wrong(*range(8))}
    assert judge(before, after, None, 0.01).worse == ["anna", "ben"]
    assert judge(before, after, None, 0.01, may_get_worse=["anna"]).worse == ["ben"]


def test_one_lost_word_in_a_small_set_is_no_significant_regression():
    before = {"anna": wrong(0, 1, 2, 3), "ben": CORRECT, GUARD_SET: CORRECT}
    assert judge(before, {"anna": CORRECT, "ben": wrong(5), GUARD_SET: CORRECT}, "anna", 0.01).passes


def test_a_regression_must_exceed_the_tolerance_significantly():
    before = {GUARD_SET: Hypotheses([*REFERENCES, *REFERENCES], [*REFERENCES, *REFERENCES])}  # 80 words
    after = {GUARD_SET: Hypotheses([*REFERENCES, *REFERENCES], [*wrong(0, 1, 2, 3, 4).hypotheses, *REFERENCES])}
    assert judge(before, after, None, 0.05).passes  # a rise of 6.2 points, but of at most 5 in two of five resamples
    assert not judge(before, after, None, 0.03).passes


def test_without_a_new_domain_only_regressions_are_rejected():
    assert judge({"ben": wrong(0)}, {"ben": wrong(0)}, None, 0.01).passes


def test_the_verdict_has_the_typography_of_general_speech_as_far_as_it_was_measured():
    before = {GUARD_SET: Hypotheses(["hello there", "so"], ["Hello, there.", "so"])}
    verdict = judge(before, {GUARD_SET: Hypotheses(["hello there"], ["hello there"])}, None, 0.01)
    assert [round(t.capitals + t.marks, 1) for t in verdict.typography] == [1.5, 0.0]


def diverged(nats):
    """The hypotheses of an unchanged version whose outputs diverge by so many nats per word."""
    words = 5 * len(REFERENCES)
    return Hypotheses(REFERENCES, REFERENCES, divergences=[nats * words / len(REFERENCES)] * len(REFERENCES))


def test_outputs_that_diverge_too_far_on_general_speech_are_a_regression_even_with_the_same_words():
    assert judge(UNCHANGED, {GUARD_SET: diverged(0.9 * MAX_DIVERGENCE)}, None, 0.01).passes
    verdict = judge(UNCHANGED, {GUARD_SET: diverged(1.1 * MAX_DIVERGENCE)}, None, 0.01)
    assert verdict.changes[GUARD_SET].divergence == pytest.approx(1.1 * MAX_DIVERGENCE)
    assert "general speech is recognised too differently" in verdict.reasons[0]


def test_a_tolerance_above_the_default_allows_more_divergence():
    after = {GUARD_SET: diverged(1.9 * MAX_DIVERGENCE)}
    assert judge(UNCHANGED, after, None, 0.02).passes
    assert not judge(UNCHANGED, after, None, 0.001).passes


def with_loss(hypotheses, nats):
    """The same with a loss of so many nats per word of the references."""
    words = 5 * len(REFERENCES)
    return replace(hypotheses, losses=[nats * words / len(REFERENCES)] * len(REFERENCES))


def test_a_loss_of_the_right_words_that_rises_too_far_is_a_regression_even_with_the_same_words():
    before = {GUARD_SET: with_loss(CORRECT, 0.5)}
    assert judge(before, {GUARD_SET: with_loss(CORRECT, 0.5 + 0.9 * MAX_LOSS_RISE)}, None, 0.01).passes
    verdict = judge(before, {GUARD_SET: with_loss(CORRECT, 0.5 + 1.1 * MAX_LOSS_RISE)}, None, 0.01)
    assert verdict.changes[GUARD_SET].loss_rise == pytest.approx(1.1 * MAX_LOSS_RISE)
    assert "the loss of the right words rises by 0.07 nats per word" in verdict.reasons[0]
    assert judge(before, {GUARD_SET: with_loss(CORRECT, 0.1)}, None, 0.01).passes  # a fall is no harm


def test_where_the_loss_is_measured_words_count_only_if_the_confidence_interval_is_above_the_tolerance():
    change = compare(CORRECT, wrong(0, 1, 2))
    assert change.low < 0.03 < change.harm
    assert not judge(UNCHANGED, {GUARD_SET: wrong(0, 1, 2)}, None, 0.03).passes
    before = {GUARD_SET: with_loss(CORRECT, 0.5)}
    assert judge(before, {GUARD_SET: with_loss(wrong(0, 1, 2), 0.5)}, None, 0.03).passes
    assert not judge(before, {GUARD_SET: with_loss(wrong(0, 1, 2, 3, 4, 5), 0.5)}, None, 0.03).passes


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (CORRECT, wrong(*range(8)), True),
        (CORRECT, wrong(0, 1), False),  # too few to be certain
        (CORRECT, diverged(1.1 * MAX_DIVERGENCE), True),  # the same in all utterances
        (CORRECT, diverged(0.9 * MAX_DIVERGENCE), False),
        (with_loss(CORRECT, 0.5), with_loss(CORRECT, 0.5 + 1.1 * MAX_LOSS_RISE), True),
        (with_loss(CORRECT, 0.5), with_loss(CORRECT, 0.5 + 0.9 * MAX_LOSS_RISE), False),
        (with_loss(CORRECT, 0.5), CORRECT, False),  # without the loss afterwards
        (wrong(*range(8)), CORRECT, False),
    ],
)
def test_the_first_utterances_are_enough_where_they_surely_show_a_regression(before, after, expected):
    assert is_early_regression(before, after, 0.01) is expected
    assert not is_early_regression(before, after, 0.5)


def test_a_divergence_in_one_utterance_of_many_is_not_certain_after_a_part():
    one = replace(CORRECT, divergences=[60 * MAX_DIVERGENCE, *[0.0] * (len(REFERENCES) - 1)])
    assert compare(CORRECT, one).is_regression(0.01)
    assert not is_early_regression(CORRECT, one, 0.01)


def test_a_verdict_may_be_about_the_first_utterances_of_a_set():
    verdict = judge(UNCHANGED, {GUARD_SET: wrong(*range(8)).first(3)}, None, 0.01)
    change = verdict.changes[GUARD_SET]
    assert (change.utterances, change.set_size, change.is_partial) == (3, 8, True)
    assert verdict.worse == [GUARD_SET]
    assert "20.0% after (in the first 3 of 8 recordings), a rise of more than" in verdict.reasons[0]


def test_hypotheses_of_two_sets_are_joined_and_divided():
    both = diverged(1.0).followed_by(diverged(2.0))
    assert both.divergence == pytest.approx(1.5)
    assert both.first(len(REFERENCES)) == diverged(1.0)
    assert with_loss(CORRECT, 1.0).followed_by(with_loss(CORRECT, 2.0)).loss == pytest.approx(1.5)
