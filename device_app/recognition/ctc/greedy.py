"""Greedy CTC decoding: from a model's log-probabilities to pieces."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from device_app.recognition.results import Piece


def greedy(log_probabilities: NDArray[np.float32], blank: int) -> list[Piece]:
    """Takes the best token of each frame, then collapses repeats and removes blanks (Graves et al. 2006).

    Args:
        log_probabilities: (frames, vocabulary), in nats.
        blank: id of the blank token.

    Returns:
        The pieces; the log-probability of a piece is the mean over its frames.
    """
    best = log_probabilities.argmax(axis=1)
    edges = np.flatnonzero(np.diff(best, prepend=-1, append=-1))
    return [
        Piece(int(best[start]), int(start), int(end), float(log_probabilities[start:end, best[start]].mean()))
        for start, end in pairwise(edges)
        if best[start] != blank
    ]
