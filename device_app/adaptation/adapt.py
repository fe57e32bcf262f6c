"""Adaptation: from a domain's labelled utterances to a version that the gate has judged.

The fine-tuning itself is a parameter, because it needs torch or another machine.
"""

from __future__ import annotations

from dataclasses import replace

from device_app.adaptation.decision import Outcome, decide
from device_app.adaptation.settings import AdaptationSettings
from device_app.adaptation.sweep import Candidate, choose, sweep
from device_app.adaptation.test_sets import TestSets
from device_app.adaptation.training_set import FineTune, FineTuningResult, prepare
from device_app.data.store import Store
from device_app.execution import ExecutionContext
from device_app.models.ledger import Edit, Ledger


def adapt(
    store: Store, ledger: Ledger, settings: AdaptationSettings, finetune: FineTune, context: ExecutionContext
) -> Outcome:
    """Fine-tunes on a domain, takes the difference, merges, bakes, scores, decides, records.

    Until the last step, which is one, nothing has changed but files that are cleaned up later.

    Args:
        store: where the utterances are.
        ledger: of the model.
        settings: of the adaptation.
        finetune: does the fine-tuning.
        context: threads and reporter.

    Raises:
        BadInputError: too few labelled utterances, no speech, or labels that belong to other recordings.
        TrainingError: the fine-tuning cannot go on.
        StorageError: the disk is full or cannot be written.
    """
    test_sets, training_set = prepare(store, ledger, settings, context)
    return conclude(ledger, settings, test_sets, finetune(training_set), context)


def conclude(
    ledger: Ledger,
    settings: AdaptationSettings,
    test_sets: TestSets,
    result: FineTuningResult,
    context: ExecutionContext,
) -> Outcome:
    """Merges the task vector of a fine-tuning, bakes, scores, decides, records. Call it while the ledger is changing.

    Raises:
        TaskVectorError: the vector does not fit the model.
        StorageError: the disk is full or cannot be written.
    """
    merge = settings.merge.with_defaults(vectors=1)
    vector = result.vector
    candidates: list[Candidate] = []
    if settings.sweep:
        start = ledger.bundle(ledger.current)
        candidates = sweep(start, vector, settings.merge, test_sets, context)
        best = choose(candidates, settings)
        merge |= {"lam": best.lam, "density": best.density} if "density" in merge else {"lam": best.lam}
    edit = Edit(
        id=len(ledger.edits) + 1,
        kind="adapt",
        domains=[settings.domain],
        vectors=[ledger.keep(vector)],
        method=settings.merge.method,
        settings=merge,
        utterances=vector.origin.utterances,
        seconds=vector.origin.seconds,
    )
    outcome = decide(ledger, ledger.drafted(edit), edit, test_sets, settings.domain, settings.gate, context)
    return replace(outcome, candidates=candidates, losses=result.losses, finetuning_s=result.seconds, norm=vector.norm)
