"""The gate: decides whether a version may become active, by comparing its WER with that of the active version."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from device_app.adaptation.divergence import TopOutputs
from device_app.adaptation.tolerance import DEFAULT_TOLERANCE
from device_app.data.names import GUARD_SET
from device_app.evaluation.error_rates import basic, error_counts
from device_app.evaluation.orthography import Typography
from editing.errors import counted

RESAMPLES = 2000  # of the bootstrap
SEED = 0  # of the resamples, so that a comparison is reproducible
# Limit of the KL divergence in nats per word of the guard set, at the default tolerance. Tried on 17 random changes of
# the embedded model's weights (of all, of the encoder's or of the decoder's), whose harm was measured on 50 other
# readers (general-distillation): it rejects 7 of the 8 that cost 1.5 points of WER or more, and none of the 9 others.
# An edit of digits with the default settings diverges by 0.03.
MAX_DIVERGENCE = 0.06
# Limit of the rise in the loss of the references, in nats per word of the guard set, at the default tolerance; KL does
# not see whether a change is for the worse. Chosen on 30 edits whose harm was measured on 235 training utterances of
# Common Voice (`benchmarks/gate.py DATA calibrate`). A fine-tuning that is subtracted costs 1.8 points of WER where the
# loss rises by 0.09 nats, and 0.6 points where it rises by 0.05; where one is added, it rises by at most 0.003. Any
# limit from 0.055 to 0.065 makes the fewest mistakes there: with MAX_DIVERGENCE, it rejects all 4 edits that cost 1.5
# points or more, and 1 of the 19 that cost at most half a point.
MAX_LOSS_RISE = 0.06
# Why the gate rejects a version, as a code for programs:
# "nothing to gain": the new domain had no word errors before; "no gain": its WER does not fall;
# "uncertain gain": it falls, but by too little for so few utterances; "regression": other speech gets worse.
Rejection = Literal["nothing to gain", "no gain", "regression", "uncertain gain"]
CONFIDENCE = 0.8  # fraction of the resamples that must agree for a regression or an improvement to count
# The same for a regression after part of a test set: high, because there are several looks at the same utterances.
EARLY_CONFIDENCE = 0.995


@dataclass(frozen=True)
class Hypotheses:
    """The references of a set of utterances, and the hypotheses of one version for them.

    Attributes:
        references: texts of the utterances.
        hypotheses: the hypotheses of the version.
        outputs: the version's outputs for each utterance; empty if they were not measured.
        divergences: KL divergence in nats of each utterance's outputs from those of the version that this one is
            compared with; empty if it was not measured.
        losses: negative log-likelihood in nats of each reference; empty if it was not measured, or cannot be.
    """

    references: Sequence[str]
    hypotheses: Sequence[str]
    outputs: Sequence[TopOutputs] = field(default=(), repr=False, compare=False)
    divergences: Sequence[float] = ()
    losses: Sequence[float] = ()

    @property
    def counts(self) -> NDArray[np.int64]:
        """(utterances, 2): word errors and reference words, ignoring case and punctuation."""
        return error_counts(self.references, self.hypotheses, basic)

    @property
    def wer(self) -> float:
        """WER as a fraction, over all utterances."""
        wrong, words = self.counts.sum(axis=0)
        return float(wrong / max(1, words))

    def first(self, count: int) -> Hypotheses:
        """Returns the hypotheses for the first `count` utterances."""
        return Hypotheses(
            self.references[:count],
            self.hypotheses[:count],
            self.outputs[:count],
            self.divergences[:count],
            self.losses[:count],
        )

    def followed_by(self, other: Hypotheses) -> Hypotheses:
        """Concatenates these hypotheses and those for other utterances."""
        return Hypotheses(
            [*self.references, *other.references],
            [*self.hypotheses, *other.hypotheses],
            [*self.outputs, *other.outputs],
            [*self.divergences, *other.divergences],
            (*self.losses, *other.losses),
        )

    @property
    def divergence(self) -> float | None:
        """The divergence in nats per reference word; None if it was not measured."""
        return self._per_word(self.divergences)

    @property
    def loss(self) -> float | None:
        """The loss of the references in nats per word; None if it was not measured."""
        return self._per_word(self.losses)

    def _per_word(self, nats: Sequence[float]) -> float | None:
        return sum(nats) / max(1, int(self.counts[:, 1].sum())) if nats else None


@dataclass(frozen=True)
class Change:
    """The change of the WER on a test set. WERs are fractions; a negative difference is an improvement.

    Attributes:
        before, after: WERs.
        low, high: 95 % confidence interval of the difference.
        surely_better: confidence in an improvement: the fraction of resamples in which the WER falls.
        harm: the rise in WER that is reached or exceeded in a fraction `CONFIDENCE` of the resamples; negative if it
            falls there.
        utterances: how many of the test set were compared: its first ones.
        set_size: utterances in the test set.
        divergence: KL divergence of the outputs in nats per reference word; None if it was not measured.
        loss_rise: rise in the loss of the references in nats per word; None if it was not measured.
    """

    before: float
    after: float
    low: float
    high: float
    surely_better: float
    harm: float
    utterances: int
    set_size: int
    divergence: float | None = None
    loss_rise: float | None = None

    @property
    def difference(self) -> float:
        """WER after minus WER before, a fraction."""
        return self.after - self.before

    @property
    def is_partial(self) -> bool:
        """Whether only a part of the test set was compared, because that showed a regression already."""
        return self.utterances < self.set_size

    @property
    def is_sure(self) -> bool:
        """Whether the WER falls, or rises, in at least a fraction `CONFIDENCE` of the resamples.

        The gate requires the same of the gain on a new domain.
        """
        return self.surely_better >= CONFIDENCE or self.harm > 0

    @property
    def sure_rise(self) -> float:
        """The rise in WER that counts as certain enough for a rejection, a fraction.

        That is `harm`; or `low` where the loss of the references is measured too, because the outputs, which vary less
        than the words, are judged then. By `harm`, the gate rejected a quarter of the edits that cost other readers
        nothing, among them fine-tunings on correct labels: an average harmless edit raises the WER of the guard set by
        0.8 points.
        """
        return self.harm if self.loss_rise is None else self.low

    def is_regression(self, tolerance: float) -> bool:
        """Whether the WER rises significantly by more than the tolerance (a fraction), or the outputs change too far.

        The point estimate alone is too noisy: on a guard set of 350 words, a difference of four words (1.1 points)
        could as well be three or five.
        """
        return self.sure_rise > tolerance or bool(self.output_changes(tolerance))

    def output_changes(self, tolerance: float) -> str:
        """The changes of the outputs beyond the limits for this tolerance, in words; empty if there are none."""
        factor = limit_factor(tolerance)
        measured = (
            ("they diverge by", self.divergence, MAX_DIVERGENCE),
            ("the loss of the right words rises by", self.loss_rise, MAX_LOSS_RISE),
        )
        return " and ".join(
            f"{what} {nats:.2f} nats per word (at most {factor * limit:g} is allowed)"
            for what, nats, limit in measured
            if nats is not None and nats > factor * limit
        )


def resamples(count: int) -> NDArray[np.int64]:
    """(resamples, count): indices of utterances for a bootstrap, the same each time; one empty row without any."""
    return np.random.default_rng(SEED).integers(count, size=(RESAMPLES, count)) if count else np.zeros((1, 0), np.int64)


def compare(before: Hypotheses, after: Hypotheses) -> Change:
    """Compares two versions by a paired bootstrap over utterances.

    Bisani & Ney 2004, doi 10.1109/ICASSP.2004.1326009.

    Args:
        before, after: hypotheses of the two versions for the same utterances; those of `after` may be for the first
            ones only.

    Raises:
        ValueError: the utterances differ.
    """
    set_size, before = len(before.references), before.first(len(after.references))
    if list(before.references) != list(after.references):
        raise ValueError("the two versions did not transcribe the same utterances")
    old, new = before.counts, after.counts
    count = len(old)
    picks = resamples(count)
    words = np.maximum(1, old[:, 1][picks].sum(axis=1))
    differences = (new[:, 0] - old[:, 0])[picks].sum(axis=1) / words
    low, harm, high = np.quantile(differences, [0.025, 1 - CONFIDENCE, 0.975])
    return Change(
        before=before.wer,
        after=after.wer,
        low=float(low),
        high=float(high),
        surely_better=float(np.mean(differences < 0)),
        harm=float(harm),
        utterances=count,
        set_size=set_size,
        divergence=after.divergence,
        loss_rise=None if before.loss is None or after.loss is None else after.loss - before.loss,
    )


def is_early_regression(before: Hypotheses, after: Hypotheses, tolerance: float) -> bool:
    """Whether so few utterances show already that a version is a regression, so that the others need not be measured.

    A sequential test: the bounds at `EARLY_CONFIDENCE` of all three criteria of `Change.is_regression`, where each is
    measured, are computed by a bootstrap over these utterances.

    Args:
        before, after: hypotheses of the two versions for the first utterances of a test set.
        tolerance: how much the WER may rise, a fraction.
    """
    words = before.counts[:, 1]
    factor = limit_factor(tolerance)
    rises = [(after.counts[:, 0] - before.counts[:, 0], tolerance)]
    if after.divergences:
        rises.append((np.array(after.divergences), factor * MAX_DIVERGENCE))
    if before.losses and after.losses:
        rises.append((np.array(after.losses) - np.array(before.losses), factor * MAX_LOSS_RISE))
    picks = resamples(len(words))
    of_words = np.maximum(1, words[picks].sum(axis=1))
    return any(np.quantile(rise[picks].sum(axis=1) / of_words, 1 - EARLY_CONFIDENCE) > limit for rise, limit in rises)


def limit_factor(tolerance: float) -> float:
    """The factor of the limits of the outputs, which grow with a tolerance above the default."""
    return max(1.0, tolerance / DEFAULT_TOLERANCE)


@dataclass(frozen=True)
class Verdict:
    """Whether a version may become active.

    Attributes:
        changes: by domain, including the guard set.
        reasons: the reasons for a rejection; empty if the version passes.
        rejection: the most important of the reasons as a code; None if the version passes.
        worse: the names of the domains that are regressions, possibly `GUARD_SET`.
        typography: case and punctuation of the hypotheses for the guard set, before and after.
    """

    changes: Mapping[str, Change]
    reasons: Sequence[str]
    rejection: Rejection | None = None
    worse: Sequence[str] = ()
    typography: tuple[Typography, Typography] | None = field(default=None)

    @property
    def passes(self) -> bool:
        """Whether there is no reason for a rejection."""
        return not self.reasons


def regressions(changes: Mapping[str, Change], exempt: Collection[str | None], tolerance: float) -> dict[str, Change]:
    """The changes that are regressions. An exempt domain is never one: a new one, for instance, whose gain is checked.

    The gate, the sweep and the merge on a host all reject by this rule.
    """
    return {
        domain: change for domain, change in changes.items() if domain not in exempt and change.is_regression(tolerance)
    }


def judge(
    before: Mapping[str, Hypotheses],
    after: Mapping[str, Hypotheses],
    new_domain: str | None,
    tolerance: float,
    may_get_worse: Collection[str] = (),
) -> Verdict:
    """Compares two versions on every domain and on the guard set.

    Args:
        before, after: hypotheses of the two versions, by domain, including `GUARD_SET`. Those of `after` may be of the
            first utterances of a set only.
        new_domain: the domain whose WER must fall; None if no gain is required (a revert, a merge).
        tolerance: how much the WER of any other domain may rise, a fraction.
        may_get_worse: domains that are no regressions, as in `GatePolicy`.
    """
    changes = {domain: compare(before[domain], now) for domain, now in after.items()}
    reasons = []
    lack_of_gain: Rejection | None = None
    if new_domain is not None:
        change = changes[new_domain]
        if change.before == 0:
            lack_of_gain = "nothing to gain"
            reasons.append(f"{new_domain} had no word errors before, so there is nothing to gain")
        elif change.difference >= 0:
            lack_of_gain = "no gain"
            reasons.append(
                f"{new_domain} is not recognised better: WER {change.before:.1%} before, {change.after:.1%} after"
            )
        elif change.surely_better < CONFIDENCE:
            lack_of_gain = "uncertain gain"
            reasons.append(
                f"{new_domain} is not recognised significantly better ({change.before:.1%} to {change.after:.1%} WER "
                f"on {counted(change.utterances, 'utterance')}); record more"
            )
    worse = regressions(changes, {new_domain, *may_get_worse}, tolerance)
    for domain, change in worse.items():
        what = "general speech" if domain == GUARD_SET else domain
        part = f" (in the first {change.utterances} of {change.set_size} recordings)" if change.is_partial else ""
        if change.sure_rise > tolerance:
            reasons.append(
                f"{what} is recognised worse: WER {change.before:.1%} before, {change.after:.1%} after"
                f"{part}, a rise of more than the tolerance of {100 * tolerance:g} percentage "
                f"{'point' if 100 * tolerance == 1 else 'points'}"
            )
        else:
            reasons.append(
                f"{what}{part} is recognised too differently, which costs speakers outside the test sets words. Of the "
                f"model's outputs, {change.output_changes(tolerance)}"
            )
    typography = None
    if GUARD_SET in after:
        now = after[GUARD_SET].hypotheses
        typography = Typography.of(before[GUARD_SET].hypotheses[: len(now)]), Typography.of(now)
    # A regression is more important than an uncertain gain, because more recordings would not help against it.
    rejection = "regression" if worse and lack_of_gain in (None, "uncertain gain") else lack_of_gain
    return Verdict(changes, reasons, rejection, [*worse], typography)
