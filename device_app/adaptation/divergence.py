"""The KL divergence of one version from another on given utterances, from the int8 files.

The WER of the guard set alone does not show a harm of one percentage point, because chance changes as many words. The
divergence of the outputs is measured on every token, so it varies much less from one set of speakers to another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOP_K = 32  # outputs that are kept of each row; all of them would take 190 MB for the guard set


@dataclass(frozen=True)
class TopOutputs:
    """The likeliest outputs of a model for one utterance, row by row.

    A row is a token of the transcript, predicted from the tokens before it; for a CTC model, a frame.

    Attributes:
        outputs: (rows, k), indices into the vocabulary.
        log_probabilities: (rows, k), in nats.
    """

    outputs: NDArray[np.int32]
    log_probabilities: NDArray[np.float32]

    @classmethod
    def of(cls, log_probabilities: NDArray[np.float32]) -> TopOutputs:
        """Keeps the `TOP_K` likeliest outputs of each row of `log_probabilities`, (rows, vocabulary) in nats."""
        count = min(TOP_K, log_probabilities.shape[1])
        outputs = np.argpartition(log_probabilities, -count, axis=1)[:, -count:]
        return cls(outputs.astype(np.int32), np.take_along_axis(log_probabilities, outputs, axis=1))

    def divergence(self, log_probabilities: NDArray[np.float32]) -> float:
        """KL(these || others) in nats, summed over the rows.

        Counts the outputs that are not kept as one, which makes it a lower bound of the divergence over all outputs.

        Args:
            log_probabilities: (rows, vocabulary) in nats: those of another version for the same utterance and text.
        """
        now = np.take_along_axis(log_probabilities, self.outputs, axis=1)
        before = self.log_probabilities
        kept = (np.exp(before) * (before - now)).sum(axis=1)
        # The probability of all other outputs together; rounding may make it 0 or less.
        rest, rest_now = (np.maximum(1e-9, 1 - np.exp(logs).sum(axis=1, dtype=np.float64)) for logs in (before, now))
        return float(np.sum(kept + rest * (np.log(rest) - np.log(rest_now))))
