"""Adapts a model to a domain: from labelled utterances to a version that the gate promotes or rejects.

The fine-tuning is passed in as a function, because it needs torch or another machine.
"""

from __future__ import annotations

from dataclasses import replace

from device_app.adaptation.decision import Outcome, decide, draft_edit
from device_app.adaptation.retired_terms import retire_terms
from device_app.adaptation.settings import AdaptationSettings
from device_app.adaptation.sweep import Candidate, choose, sweep
from device_app.adaptation.test_sets import TestSets
from device_app.adaptation.training_set import FineTune, FineTuningResult, prepare
from device_app.data.store import Store
from device_app.execution import ExecutionContext
from device_app.models.ledger import Ledger
from editing.interference import without_interference
from editing.task_vector import TaskVector


def adapt(
    store: Store, ledger: Ledger, settings: AdaptationSettings, finetune: FineTune, context: ExecutionContext
) -> Outcome:
    """Fine-tunes on a domain, merges the task vector, bakes, and lets the gate decide.

    Call it inside `ledger.changing()`. The model changes only in the last step, which is atomic. Earlier steps only
    create files that are cleaned up later.

    Args:
        store: the store with the utterances.
        ledger: the ledger of the model.
        settings: the settings of the adaptation.
        finetune: runs the fine-tuning.
        context: threads and reporter.

    Raises:
        BadInputError: as `prepare`.
        TrainingError: the fine-tuning cannot continue.
        StorageError: the disk is full or cannot be written.
    """
    test_sets, training_set = prepare(store, ledger, settings, context)
    return conclude(store, ledger, settings, test_sets, finetune(training_set), context)


def conclude(
    store: Store,
    ledger: Ledger,
    settings: AdaptationSettings,
    test_sets: TestSets,
    result: FineTuningResult,
    context: ExecutionContext,
) -> Outcome:
    """Merges the task vector of a fine-tuning, bakes, and lets the gate decide. Call it inside `ledger.changing()`.

    Entries that oppose the edits of other domains where those matter most are left out of the vector.
    Once the version is active, corrected words that it recognises without help leave the list of terms.

    Raises:
        TaskVectorError: the vector does not fit the model.
        StorageError: the disk is full or cannot be written.
    """
    merge = settings.merge.with_defaults(vectors=1)
    vector = vector_to_merge(ledger, result.vector, settings.domain)
    candidates: list[Candidate] = []
    if settings.sweep:
        start = ledger.bundle(ledger.current)
        candidates = sweep(start, vector, settings.merge, test_sets, context)
        best = choose(candidates, settings)
        merge |= {"lam": best.lam, "density": best.density} if "density" in merge else {"lam": best.lam}
    edit = draft_edit(ledger, "adapt", [settings.domain], [vector], settings.merge.method, merge)
    outcome = decide(ledger, ledger.with_edit(edit), edit, test_sets, settings.domain, settings.gate, context)
    retired = retire_terms(store, ledger, edit.id, settings.domain, context) if outcome.promoted else []
    return replace(
        outcome,
        candidates=candidates,
        losses=result.losses,
        finetuning_s=result.seconds,
        norm=vector.norm,
        retired_terms=retired,
    )


def vector_to_merge(ledger: Ledger, vector: TaskVector, domain: str) -> TaskVector:
    """A fine-tuning's vector without interference with the active edits of other domains, merged ones included."""
    others = [applied for applied in ledger.current.applied if {*ledger.edit(applied.edit).domains} != {domain}]
    if not others:
        return vector
    base, weights = ledger.base.weights(), ledger.bundle(ledger.draft(others, "the edits of other domains")).weights()
    earlier = {name: weights[name] - base[name] for name in base}
    return replace(vector, tensors=without_interference(vector.tensors, earlier))
