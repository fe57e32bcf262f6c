"""The bias of a beam search towards terms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device_app.recognition.decoder_search import Hypothesis
from device_app.recognition.keyterms.graph import MIN_BONUS, TermGraph
from device_app.recognition.keyterms.terms import START


class TermBias:
    """A `decoder_search.Bias` towards terms, for one search."""

    def __init__(self, graph: TermGraph) -> None:
        self._graph = graph
        self._states: list[str] = []

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
        """Only if it has more of the terms, and not if the bonus has led the decoder into a loop.

        So terms that are not said, and terms that need no help, change nothing.
        """
        gain = biased.bonus - self._graph.bonus(plain.tokens)
        return gain >= MIN_BONUS and biased.is_complete >= plain.is_complete
