"""The bias of a beam search towards terms."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from device_app.recognition.decoder_search import Hypothesis
from device_app.recognition.keyterms.graph import MIN_BONUS, TermGraph
from device_app.recognition.keyterms.terms import START

# A hypothesis with terms may lose log-probability, up to this share of its bonus. Chosen on training utterances of
# cv-us, cv-canada and telephone-prompts (docs/terms.md).
SHARE = 1.1  # for a list of up to FULL_SHARE_TERMS terms
FULL_SHARE_TERMS = 100
DECREASE_PER_TENFOLD = 0.2  # of the share, for each tenfold of FULL_SHARE_TERMS
MIN_SHARE = 0.5


class TermBias:
    """A `decoder_search.Bias` towards terms, for one search."""

    def __init__(self, graph: TermGraph) -> None:
        self._graph = graph
        self._states: list[str] = []  # of each row of the latest step (see `keyterms.terms.Keyterms`)

    def step(
        self, tokens: NDArray[np.int64], parents: NDArray[np.int64], log_probabilities: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        graph = self._graph
        if self._states:
            pairs = zip(parents.tolist(), tokens.tolist(), strict=True)
            self._states = [graph.next_state(self._states[parent], token) for parent, token in pairs]
        else:
            self._states = [START] * len(tokens)
        scores = log_probabilities.copy()
        for row, state in zip(scores, self._states, strict=True):
            graph.add_bonuses(state, row)
        return scores

    def accepts(self, plain: Hypothesis, biased: Hypothesis) -> bool:
        """Whether the biased hypothesis has more of the terms, is not much less likely, and is complete if `plain` is.

        So terms that are not said, and terms that are recognised anyway, change nothing.
        """
        gain = biased.bonus - self._graph.bonus(plain.tokens)
        loss = plain.score - biased.score
        is_likely = loss <= accepted_share(len(self._graph.terms)) * gain
        return gain >= MIN_BONUS and is_likely and biased.is_complete >= plain.is_complete


def accepted_share(count: int) -> float:
    """How much log-probability a hypothesis may lose to terms, as a share of their bonus.

    The search needs the whole bonus to reach a term. But the more terms there are, the likelier it is that one of them
    only sounds like what is said, so the share is smaller for a long list.

    Args:
        count: number of terms in the list.
    """
    return max(MIN_SHARE, SHARE - DECREASE_PER_TENFOLD * max(0.0, math.log10(max(1, count) / FULL_SHARE_TERMS)))
