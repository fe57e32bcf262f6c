"""Choice of lambda and density by WER."""

from device_app.adaptation.gate import Change, Hypotheses, compare
from device_app.adaptation.settings import AdaptationSettings
from device_app.adaptation.sweep import Candidate, choose
from device_app.data.names import GUARD_SET

REFERENCES = [f"sentence number {number}" for number in range(20)]


def candidate(lam, wrong, rise=0.0, significant=None):
    """A candidate that misrecognises the first sentences of the domain, with this rise in WER on general speech."""
    before = Hypotheses(REFERENCES, ["nothing"] * len(REFERENCES))
    hypotheses = Hypotheses(REFERENCES, ["nothing" if place < wrong else text for place, text in enumerate(REFERENCES)])
    harmed = Change(0.1, 0.1 + rise, rise, rise, 0.0, rise if significant is None else significant, 50, 50)
    return Candidate(lam, 1.0, {"anna": hypotheses}, {"anna": compare(before, hypotheses), GUARD_SET: harmed})


def test_the_smallest_step_with_most_of_the_gain_is_chosen():
    harmless = [candidate(0.2, 12), candidate(0.4, 6), candidate(0.6, 4), candidate(0.8, 3)]
    candidates = [*harmless, candidate(1.0, 0, rise=0.03)]
    assert choose(candidates, AdaptationSettings("anna")).lam == 0.6
    assert choose(candidates[::-1], AdaptationSettings("anna")).lam == 0.6
    assert choose(candidates[4:], AdaptationSettings("anna")).lam == 1.0
    assert choose([candidate(0.2, 20), candidate(0.4, 20)], AdaptationSettings("anna")).lam == 0.2


def test_a_regression_that_is_not_significant_excludes_no_candidate():
    candidates = [
        candidate(0.2, 20),
        candidate(0.4, 20),
        candidate(0.8, 4),
        candidate(1.0, 2, rise=0.03, significant=0.008),
    ]
    assert choose(candidates, AdaptationSettings("anna")).lam == 1.0


def test_an_outlier_among_worse_neighbours_is_not_chosen():
    wrong = {0.2: 18, 0.3: 6, 0.4: 17, 0.6: 8, 0.8: 5, 1.0: 4}
    assert choose([candidate(*one) for one in wrong.items()], AdaptationSettings("anna")).lam == 0.8


def test_if_all_candidates_harm_the_least_harmful_is_chosen():
    candidates = [candidate(0.2, 12, rise=0.05), candidate(0.4, 6, rise=0.02), candidate(0.6, 2, rise=0.04)]
    assert choose(candidates, AdaptationSettings("anna")).lam == 0.4
