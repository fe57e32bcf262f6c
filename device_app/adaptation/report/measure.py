"""Error rates with intervals: every version that led to the active one, on every domain and on general speech."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from device_app.adaptation.decision import clean_up
from device_app.adaptation.gate import Change, Hypotheses, compare, resamples
from device_app.adaptation.report.history import domains_of_history
from device_app.adaptation.test_sets import test_set, transcribe_texts
from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.execution import ExecutionContext
from device_app.models.ledger import Ledger, Version
from device_app.recognition.recordings.utterances import UtteranceTranscriber

EXAMPLES = 5  # of each domain


@dataclass(frozen=True)
class Estimate:
    """A WER with its 95 % interval `low` to `high`, all fractions; `utterances` is the size of the test set."""

    wer: float
    low: float
    high: float
    utterances: int

    @classmethod
    def of(cls, hypotheses: Hypotheses) -> Estimate:
        """Bootstraps the interval over utterances (Bisani & Ney 2004, doi 10.1109/ICASSP.2004.1326009)."""
        counts = hypotheses.counts
        picks = resamples(len(counts))
        wrong, words = counts[picks].sum(axis=1).T
        low, high = np.quantile(wrong / np.maximum(1, words), [0.025, 0.975])
        return cls(hypotheses.wer, float(low), float(high), len(counts))


@dataclass(frozen=True)
class Example:
    """A held-out utterance whose text changed: what was said, the text of the base model, and the text now."""

    reference: str
    before: str
    now: str


@dataclass(frozen=True)
class History:
    """What the report shows.

    Attributes:
        domains: in the order of their edits, then the guard set; empty if there are no test recordings.
        versions: that led to the active one, which is the last.
        estimates: by version, the estimate of each domain.
        changes: by domain, the active version compared with the base on the same utterances.
        examples: by domain, the utterances that the active version improves most.
    """

    domains: Sequence[str]
    versions: Sequence[Version]
    estimates: Sequence[Mapping[str, Estimate]]
    changes: Mapping[str, Change]
    examples: Mapping[str, Sequence[Example]]


def measure_history(store: Store, ledger: Ledger, context: ExecutionContext) -> History:
    """Transcribes the test sets with each version. Call it inside `ledger.changing()`.

    Raises:
        StorageError: the store, a task vector or a baked file is damaged.
    """
    domains = domains_of_history(store, ledger)
    versions = list(ledger.history())
    sets = {domain: found for domain in domains if (found := test_set(store, domain, ledger.base.language))}
    measured = []
    for version in versions:
        transcriber = UtteranceTranscriber(ledger.bundle(version), context.threads)
        hypotheses = transcribe_texts(transcriber, sets, context.reporter, f"transcribing with version {version.id}")
        # Recorded also where the test set has grown meanwhile, so that all figures are of the same test sets.
        changed = {domain: one.wer for domain, one in hypotheses.items() if version.wer.get(domain) != one.wer}
        if changed:
            ledger.record_wer(version, changed)
        measured.append(hypotheses)
    clean_up(ledger)
    estimates = [{domain: Estimate.of(texts) for domain, texts in one.items()} for one in measured]
    changes = {domain: compare(measured[0][domain], measured[-1][domain]) for domain in sets}
    examples = {domain: _examples(measured[0][domain], measured[-1][domain]) for domain in sets if domain != GUARD_SET}
    return History(list(sets), versions, estimates, changes, examples)


def _examples(before: Hypotheses, now: Hypotheses) -> list[Example]:
    """The utterances with the most word errors less than before, at most `EXAMPLES`; none without fewer errors."""
    gains = before.counts[:, 0] - now.counts[:, 0]
    order = np.argsort(-gains, kind="stable")[:EXAMPLES]
    return [
        Example(before.references[i], before.hypotheses[i], now.hypotheses[i]) for i in order.tolist() if gains[i] > 0
    ]
