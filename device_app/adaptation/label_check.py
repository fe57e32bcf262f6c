"""Checks that labels belong to their recordings, by a permutation test against the hypotheses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from device_app.evaluation.error_rates import normalisers
from editing.errors import BadInputError

MAX_CHECKED = 60  # labels to compare with their hypotheses; each is compared with all of them
SIGNIFICANCE_LEVEL = 0.05
PERMUTATIONS = 500


def check_labels(labels: Sequence[str], hypotheses: Sequence[str], domain: str, language: str, seed: int = 0) -> None:
    """Compares the first labels with the hypotheses of their recordings.

    Args:
        labels: labels of the training utterances.
        hypotheses: hypotheses for the same recordings in the same order, or for the first of them.
        domain: name of the domain in the error message.
        language: the language of the texts, a code of ISO 639.
        seed: the seed of the permutations.

    Raises:
        BadInputError: the labels fit their recordings no better than shuffled labels do.
    """
    p_value = permutation_p_value(labels[:MAX_CHECKED], hypotheses[:MAX_CHECKED], language, seed)
    if p_value > SIGNIFICANCE_LEVEL:
        raise BadInputError(
            f"the texts of {domain} do not seem to belong to its recordings: shuffled texts match the recognised "
            f"words as well ({p_value:.0%} of shuffles). Nothing was changed. 'asr-edge dataset show {domain}' shows "
            "the texts, 'asr-edge correct ID' changes one; --force adapts all the same"
        )


def permutation_p_value(labels: Sequence[str], hypotheses: Sequence[str], language: str, seed: int = 0) -> float:
    """The fraction of random permutations of the labels that fit the hypotheses at least as well as the labels do.

    Compares only letters and digits by CER, because a recogniser that is not adapted to the speaker often
    gets word boundaries wrong. Labels without letters and digits are left out.

    Args:
        labels, hypotheses: of the same recordings in the same order; the rest of the longer one is ignored.
        language: the language of the texts, a code of ISO 639.
        seed: the seed of the permutations.

    Returns:
        The fraction; 0 if fewer than two labels differ, because then no permutation can tell.
    """
    import jiwer

    normalise = next(iter(normalisers(language).values()))
    pairs = [
        (normalise(label).replace(" ", ""), normalise(hypothesis).replace(" ", ""))
        for label, hypothesis in zip(labels, hypotheses, strict=False)
    ]
    pairs = [(label, hypothesis) for label, hypothesis in pairs if label]
    if len({label for label, _ in pairs}) < 2:
        return 0.0
    distance = np.array([[_distance(jiwer, label, hypothesis) for label, _ in pairs] for _, hypothesis in pairs])
    random = np.random.default_rng(seed)
    own = float(np.trace(distance))
    rows = np.arange(len(pairs))
    permuted = [float(distance[rows, random.permutation(len(pairs))].sum()) for _ in range(PERMUTATIONS)]
    return float(np.mean(np.array(permuted) <= own))


def _distance(jiwer: Any, label: str, hypothesis: str) -> float:
    return float(jiwer.cer(label, hypothesis)) if hypothesis else 1.0
