"""Scores the version history on every domain, and computes average WER and transfer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device_app.adaptation.decision import clean_up
from device_app.adaptation.test_sets import general_speech, test_set, transcribe_texts
from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.evaluation.transfer import average_wer, backward_transfer, forward_transfer
from device_app.execution import ExecutionContext
from device_app.models.ledger import Ledger, Version
from device_app.recognition.recordings.utterances import UtteranceTranscriber


def measure_versions(store: Store, ledger: Ledger, context: ExecutionContext) -> tuple[list[str], list[Version]]:
    """Scores each version that led to the active one on every domain of these versions.

    WERs that the ledger has already are not measured again, so those of a version are of the recordings and texts at
    the time when it was measured. Call it inside `ledger.changing()`.

    Returns:
        The domains in the order of their edits, followed by the guard set if there is one; and the versions.
    """
    domains = domains_of_history(store, ledger)
    versions = ledger.history()
    unmeasured = [domain for domain in domains if any(domain not in version.wer for version in versions)]
    all_sets = {domain: test_set(store, domain, ledger.base.language) for domain in unmeasured}
    for version in versions:
        sets = {domain: found for domain, found in all_sets.items() if domain not in version.wer}
        if sets:
            transcriber = UtteranceTranscriber(ledger.bundle(version), context.threads)
            found = transcribe_texts(transcriber, sets, context.reporter, f"transcribing with version {version.id}")
            ledger.record_wer(version, {domain: hypotheses.wer for domain, hypotheses in found.items()})
    clean_up(ledger)
    return domains, ledger.history()


def domains_of_history(store: Store, ledger: Ledger) -> list[str]:
    """The domains that the versions up to the active one were adapted to, by edit; then the guard set.

    Without domains that have no labelled held-out utterance, such as those of an imported vector, and without the
    guard set if there is no general speech in the language of the model.
    """
    adapted = dict.fromkeys(domain for version in ledger.history() for domain in ledger.domains(version))
    general = general_speech(store, ledger.base.language)
    return [*(domain for domain in adapted if _has_test_set(store, domain)), *([GUARD_SET] if general else [])]


def _has_test_set(store: Store, domain: str) -> bool:
    return any(one.text is not None and one.split == "test" for one in store.utterances(domain))


def transfer_metrics(ledger: Ledger, domains: Sequence[str], versions: Sequence[Version]) -> dict[str, float]:
    """Average WER and transfer over the domains of the active version, in the order of their edits.

    Row i of the WER matrix is the first version that was adapted to the first i + 1 domains; the last row
    is the active version. For the forward transfer, that version must have been adapted to no later domain.

    Args:
        ledger: the ledger of the model.
        domains: domains that have a WER in every version.
        versions: the versions that led to the active one, which is the last.

    Returns:
        "average_wer", and with two or more domains "backward_transfer" and "forward_transfer", as fractions;
        without the latter if there never was a version without the later domains. Empty if the active
        version has no edit of these domains.
    """
    order = [domain for domain in ledger.domains(versions[-1]) if domain in domains]
    if not order:
        return {}
    prefixes = [{*order[: i + 1]} for i in range(len(order) - 1)]  # the first i + 1 domains, for every row but the last
    firsts = [next(v for v in versions if prefix <= {*ledger.domains(v)}) for prefix in prefixes]
    matrix = _matrix([*firsts, versions[-1]], order)
    metrics = {"average_wer": average_wer(matrix)}
    if len(order) > 1:
        metrics["backward_transfer"] = backward_transfer(matrix)
        without_wer = {*ledger.domains(versions[-1])}.difference(order)
        adapted = [{*ledger.domains(version)} - without_wer for version in versions]
        if all(prefix in adapted for prefix in prefixes):
            rows = [versions[adapted.index(prefix)] for prefix in prefixes]
            base = np.array([versions[0].wer[domain] for domain in order])
            metrics["forward_transfer"] = forward_transfer(_matrix([*rows, versions[-1]], order), base)
    return metrics


def _matrix(versions: Sequence[Version], domains: Sequence[str]) -> NDArray[np.float64]:
    """WER of each version (row) on each domain (column)."""
    return np.array([[version.wer[domain] for domain in domains] for version in versions])
