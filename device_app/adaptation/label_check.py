"""Do labels belong to their recordings? A permutation test against what the recogniser transcribes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from device_app.evaluation.error_rates import english
from editing.errors import BadInputError

CHECKED = 60  # labels that are compared with their hypotheses
CHANCE = 0.05  # the largest share of permutations that may fit as well
PERMUTATIONS = 500


def check_labels(labels: Sequence[str], hypotheses: Sequence[str], domain: str, seed: int = 0) -> None:
    """Compares the first labels with the hypotheses of their recordings.

    Args:
        labels: of the training utterances.
        hypotheses: of the same recordings, or of the first of them.
        domain: what the error calls it.
        seed: of the permutations.

    Raises:
        BadInputError: the labels fit their recordings no better than each other's.
    """
    chance = label_chance(labels[:CHECKED], hypotheses[:CHECKED], seed)
    if chance > CHANCE:
        raise BadInputError(
            f"the texts of {domain} do not seem to belong to its recordings: shuffled, they fit what is heard as "
            f"well ({chance:.0%} of shuffles). Nothing was learnt. 'asr-edge label --domain {domain}' goes over "
            "them; --force learns them all the same"
        )


def label_chance(labels: Sequence[str], hypotheses: Sequence[str], seed: int = 0) -> float:
    """The share of random permutations in which the labels fit the hypotheses at least as well as they do in order.

    Letters and digits alone count, because a recogniser that does not know the speaker splits words
    in other places.
    """
    import jiwer

    pairs = [
        (english(label).replace(" ", ""), english(hypothesis).replace(" ", ""))
        for label, hypothesis in zip(labels, hypotheses, strict=False)
    ]
    pairs = [(label, hypothesis) for label, hypothesis in pairs if label]
    if len({label for label, _ in pairs}) < 2:
        return 0.0  # all labels are the same; no permutation differs
    distance = np.array([[_distance(jiwer, label, hypothesis) for label, _ in pairs] for _, hypothesis in pairs])
    random = np.random.default_rng(seed)
    own = float(np.trace(distance))
    rows = np.arange(len(pairs))
    permuted = [float(distance[rows, random.permutation(len(pairs))].sum()) for _ in range(PERMUTATIONS)]
    return float(np.mean(np.array(permuted) <= own))


def _distance(jiwer: Any, label: str, hypothesis: str) -> float:
    return float(jiwer.cer(label, hypothesis)) if hypothesis else 1.0
