"""The gate: may a version become active? Its error rates beside those of the active version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from device_app.data.names import GUARD_SET
from device_app.evaluation.error_rates import basic, error_counts
from device_app.evaluation.orthography import Typography

RESAMPLES = 2000
SURE = 0.8  # of the resamples that must agree before a domain counts as harmed, or as improved


@dataclass(frozen=True)
class Hypotheses:
    """References of one set of utterances, and the hypotheses of one version."""

    references: Sequence[str]
    hypotheses: Sequence[str]

    @property
    def counts(self) -> NDArray[np.int64]:
        """(utterances, 2): wrong words and words, case and punctuation aside."""
        return error_counts(self.references, self.hypotheses, basic)

    @property
    def wer(self) -> float:
        wrong, words = self.counts.sum(axis=0)
        return float(wrong / max(1, words))


@dataclass(frozen=True)
class Change:
    """How the WER of a set changes; WER are fractions, a negative difference is better.

    Attributes:
        before, after: WER.
        low, high: of the difference, between which 95 % of the resamples are.
        surely_better: the share of resamples in which it is better.
        harm: by how much it is worse, at least, in `SURE` of the resamples.
    """

    before: float
    after: float
    low: float
    high: float
    surely_better: float
    harm: float
    utterances: int

    @property
    def difference(self) -> float:
        return self.after - self.before

    def is_harm(self, tolerance: float) -> bool:
        """Whether it is worse by more than the tolerance (a fraction), and that not by chance alone.

        A guard set of 350 words loses four of them, 1.1 points, as easily as three or five.
        """
        return self.harm > tolerance


def compare(before: Hypotheses, after: Hypotheses, seed: int = 0) -> Change:
    """Paired bootstrap over utterances (Bisani & Ney 2004, doi 10.1109/ICASSP.2004.1326009).

    Args:
        before, after: of the same utterances, by two versions.
        seed: of the resamples.

    Raises:
        ValueError: they are not the same utterances.
    """
    if list(before.references) != list(after.references):
        raise ValueError("the two versions were not given the same utterances")
    old, new = before.counts, after.counts
    count = len(old)
    picks = np.random.default_rng(seed).integers(count, size=(RESAMPLES, count)) if count else np.zeros((1, 0), int)
    words = np.maximum(1, old[:, 1][picks].sum(axis=1))
    differences = (new[:, 0] - old[:, 0])[picks].sum(axis=1) / words
    low, harm, high = np.quantile(differences, [0.025, 1 - SURE, 0.975])
    return Change(
        before=before.wer,
        after=after.wer,
        low=float(low),
        high=float(high),
        surely_better=float(np.mean(differences < 0)),
        harm=float(harm),
        utterances=count,
    )


@dataclass(frozen=True)
class Verdict:
    """Whether a version may become active.

    Attributes:
        changes: by domain, the guard set among them.
        reasons: why it may not; empty if it may.
        typography: capitals and punctuation of the guard set's hypotheses, before and after.
    """

    changes: Mapping[str, Change]
    reasons: Sequence[str]
    typography: tuple[Typography, Typography] | None = field(default=None)

    @property
    def passes(self) -> bool:
        return not self.reasons


def judge(
    before: Mapping[str, Hypotheses], after: Mapping[str, Hypotheses], new_domain: str | None, tolerance: float
) -> Verdict:
    """Compares two versions on every domain and on the guard set.

    Args:
        before, after: hypotheses of each, by domain; `GUARD_SET` is one of them.
        new_domain: the domain whose WER must fall; None where no gain is required (a revert, a merge).
        tolerance: how much the WER of any other may rise, a fraction.
    """
    changes = {domain: compare(before[domain], after[domain]) for domain in after}
    reasons = []
    if new_domain is not None:
        change = changes[new_domain]
        if change.before == 0:
            reasons.append(f"{new_domain} was heard without a mistake before, so there is nothing to gain")
        elif change.difference >= 0:
            reasons.append(
                f"{new_domain} is not recognised better: WER {change.before:.1%} before, {change.after:.1%} after"
            )
        elif change.surely_better < SURE:
            reasons.append(
                f"{new_domain} may be better by chance alone ({change.before:.1%} to {change.after:.1%} WER over "
                f"{change.utterances} utterances); record and label some more"
            )
    for domain, change in changes.items():
        if domain != new_domain and change.is_harm(tolerance):
            what = "general speech" if domain == GUARD_SET else domain
            reasons.append(
                f"{what} is recognised worse: WER {change.before:.1%} before, {change.after:.1%} after, "
                f"more than {100 * tolerance:g} points"
            )
    typography = None
    if GUARD_SET in after:
        typography = Typography.of(before[GUARD_SET].hypotheses), Typography.of(after[GUARD_SET].hypotheses)
    return Verdict(changes, reasons, typography)
