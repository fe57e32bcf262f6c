"""Scores the version history on every domain, and computes average WER and transfer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from device_app.adaptation.decision import clean_up
from device_app.adaptation.test_sets import general_speech, test_set, transcribe_texts
from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.evaluation.transfer import average_wer, backward_transfer, forward_transfer
from device_app.execution import ExecutionContext
from device_app.models.ledger import Ledger, Version
from device_app.recognition.transcriber import Transcriber


def measure_versions(store: Store, ledger: Ledger, context: ExecutionContext) -> tuple[list[str], list[Version]]:
    """Scores each version that led to the active one on every domain of these versions.

    WERs that the ledger has already are not measured again. Call it inside `ledger.changing()`.

    Returns:
        The domains in the order of their edits, followed by the guard set if there is one; and the versions.
    """
    domains = domains_of_history(store, ledger)
    for version in ledger.history():
        missing = [domain for domain in domains if domain not in version.wer]
        if missing:
            sets = {domain: test_set(store, domain, ledger.base.language) for domain in missing}
            transcriber = Transcriber(ledger.bundle(version), threads=context.threads)
            found = transcribe_texts(transcriber, sets, context.reporter, f"transcribing with version {version.id}")
            ledger.record_wer(version, {domain: hypotheses.wer for domain, hypotheses in found.items()})
    clean_up(ledger)
    return domains, ledger.history()


def domains_of_history(store: Store, ledger: Ledger) -> list[str]:
    """The domains with recordings of the versions that led to the active one, by edit, followed by the guard set.

    Without the guard set if there is no general speech in the language of the model.
    """
    known = store.domains()
    adapted = dict.fromkeys(domain for version in ledger.history() for domain in ledger.domains(version))
    general = general_speech(store, ledger.base.language)
    return [*(domain for domain in adapted if domain in known), *([GUARD_SET] if general else [])]


def transfer_metrics(ledger: Ledger, domains: Sequence[str], versions: Sequence[Version]) -> dict[str, float]:
    """Average WER and transfer over the domains of the active version, in the order of their edits.

    Row i of the WER matrix is the first version that was adapted to the first i + 1 domains; the last row
    is the active version.

    Args:
        ledger: the ledger of the model.
        domains: domains that have a WER in every version.
        versions: the versions that led to the active one, which is the last.

    Returns:
        "average_wer", and with two or more domains "backward_transfer" and "forward_transfer", as fractions.
        Empty if the active version has no edit of these domains.
    """
    order = [domain for domain in ledger.domains(versions[-1]) if domain in domains]
    if not order:
        return {}
    firsts = [next(v for v in versions if {*order[: i + 1]} <= {*ledger.domains(v)}) for i in range(len(order) - 1)]
    matrix = np.array([[version.wer[domain] for domain in order] for version in (*firsts, versions[-1])])
    metrics = {"average_wer": average_wer(matrix)}
    if len(order) > 1:
        base = np.array([versions[0].wer[domain] for domain in order])
        metrics["backward_transfer"] = backward_transfer(matrix)
        metrics["forward_transfer"] = forward_transfer(matrix, base)
    return metrics
