"""Choosing lambda and density by what is hypotheses."""

from device_app.adaptation.gate import Change, Hypotheses, compare
from device_app.adaptation.settings import AdaptationSettings
from device_app.adaptation.sweep import Candidate, choose
from device_app.data.names import GUARD_SET

SAID = [f"sentence number {number}" for number in range(20)]


def candidate(lam, wrong, harm=0.0, sure=None):
    """A candidate that mishears the first sentences of the domain, and harms general speech, as much for sure."""
    before = Hypotheses(SAID, ["nothing"] * len(SAID))
    hypotheses = Hypotheses(SAID, ["nothing" if place < wrong else text for place, text in enumerate(SAID)])
    harmed = Change(0.1, 0.1 + harm, harm, harm, 0.0, harm if sure is None else sure, 50)
    return Candidate(lam, 1.0, {"anna": hypotheses}, {"anna": compare(before, hypotheses), GUARD_SET: harmed})


def test_of_candidates_with_enough_of_the_gain_the_gentlest_is_chosen():
    harmless = [candidate(0.2, 12), candidate(0.4, 6), candidate(0.6, 4), candidate(0.8, 3)]
    candidates = [*harmless, candidate(1.0, 0, harm=0.03)]
    assert choose(candidates, AdaptationSettings("anna")).lam == 0.6
    assert choose(candidates[::-1], AdaptationSettings("anna")).lam == 0.6
    assert choose(candidates[4:], AdaptationSettings("anna")).lam == 1.0
    assert choose([candidate(0.2, 20), candidate(0.4, 20)], AdaptationSettings("anna")).lam == 0.2


def test_harm_that_may_be_chance_keeps_none_out():
    candidates = [candidate(0.2, 20), candidate(0.4, 20), candidate(0.8, 4), candidate(1.0, 2, harm=0.03, sure=0.008)]
    assert choose(candidates, AdaptationSettings("anna")).lam == 1.0


def test_a_lucky_candidate_among_worse_ones_is_not_chosen_for_its_luck():
    wrong = {0.2: 18, 0.3: 6, 0.4: 17, 0.6: 8, 0.8: 5, 1.0: 4}
    assert choose([candidate(*one) for one in wrong.items()], AdaptationSettings("anna")).lam == 0.8


def test_where_all_harm_the_least_harmful_is_tried():
    candidates = [candidate(0.2, 12, harm=0.05), candidate(0.4, 6, harm=0.02), candidate(0.6, 2, harm=0.04)]
    assert choose(candidates, AdaptationSettings("anna")).lam == 0.4
