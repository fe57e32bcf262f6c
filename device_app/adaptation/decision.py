"""Bakes a draft version, scores it on every test set, and promotes or rejects it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from device_app.adaptation.gate import Change, Verdict, judge
from device_app.adaptation.guard_set.cache import write_cached
from device_app.adaptation.settings import GatePolicy
from device_app.adaptation.sweep import Candidate
from device_app.adaptation.test_sets import TestSets, build_test_sets, held_out_utterances, transcribe_sets_with
from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.execution import ExecutionContext
from device_app.models.baking import baked, baked_folder
from device_app.models.ledger import Edit, Ledger, Version
from device_app.recognition.recordings.utterances import UtteranceTranscriber
from editing.errors import StorageError
from editing.task_vector import TaskVector, training_size
from export.bundle import PRECISIONS


@dataclass(frozen=True)
class Outcome:
    """The result of a decision about a draft version.

    Attributes:
        edit: the new edit, as recorded in the ledger unless this was a dry run; None if the version has no new edit.
        version: the draft version.
        verdict: the verdict of the gate.
        gate: the policy, which says what follows from the verdict.
        candidates: the candidates of the sweep, if there was one.
        losses: training loss per token of each epoch.
        finetuning_s: duration of the fine-tuning in seconds.
        norm: the norm of the task vector.
        retired_terms: corrected words that left the list of terms, because the model recognises them now.
        replaced: numbers of the edits that the active version had and this one has not.
    """

    edit: Edit | None
    version: Version
    verdict: Verdict
    gate: GatePolicy
    candidates: Sequence[Candidate] = ()
    losses: Sequence[float] = ()
    finetuning_s: float = 0.0
    norm: float = 0.0
    retired_terms: Sequence[str] = ()
    replaced: Sequence[int] = ()

    @property
    def is_accepted(self) -> bool:
        """Whether the version may become active: it passes the gate, or the policy promotes it regardless."""
        return self.verdict.passes or self.gate.force

    @property
    def promoted(self) -> bool:
        """Whether it is the active version now."""
        return self.is_accepted and not self.gate.dry_run

    def record(self) -> dict[str, Any]:
        """The outcome as a JSON object; WERs are fractions."""
        typography = self.verdict.typography
        return {
            "promoted": self.promoted,
            "dry_run": self.gate.dry_run,
            "passes": self.verdict.passes,
            "reasons": list(self.verdict.reasons),
            "rejection": self.verdict.rejection,
            "worse": list(self.verdict.worse),
            "version": self.version.id,
            "edit": None if self.edit is None else self.edit.record(),
            "domains": {domain: _change_record(change) for domain, change in self.verdict.changes.items()},
            "typography": None
            if typography is None
            else {"before": asdict(typography[0]), "after": asdict(typography[1])},
            "candidates": [
                {"lambda": c.lam, "density": c.density, "domains": {d: _change_record(x) for d, x in c.changes.items()}}
                for c in self.candidates
            ],
            "losses": list(self.losses),
            "tuning_s": round(self.finetuning_s, 2),
            "norm": self.norm,
            "retired_terms": list(self.retired_terms),
            "replaced": list(self.replaced),
        }


def _change_record(change: Change) -> dict[str, float]:
    return {**asdict(change), "difference": change.difference}


def decide(
    ledger: Ledger,
    version: Version,
    edit: Edit | None,
    test_sets: TestSets,
    domain: str,
    gate: GatePolicy,
    context: ExecutionContext,
) -> Outcome:
    """Bakes a draft, transcribes every test set with the int8 files, and promotes or rejects it.

    Args:
        ledger: the ledger, inside `ledger.changing()`.
        version: the draft version.
        edit: the new edit of the version, if any.
        test_sets: test sets, with the hypotheses of the active version.
        domain: its WER must fall if the policy requires a gain and there is a test set of it.
        gate: the policy.
        context: threads and reporter.

    Raises:
        StorageError: the disk is full or cannot be written; the active version stays.
    """
    bundle = ledger.bundle(version)
    label = "transcribing with the new version"
    # A version that becomes active is measured on everything, because the next ones are compared with it.
    tolerance = None if gate.force else gate.tolerance
    after = transcribe_sets_with(bundle.weights(), bundle, test_sets.sets, context, label, test_sets.before, tolerance)
    new_domain = domain if gate.requires_gain and domain in test_sets.sets else None
    verdict = judge(test_sets.before, after, new_domain, gate.tolerance, gate.may_get_worse)
    replaced = [applied.edit for applied in ledger.current.applied if version.how_applied(applied.edit) is None]
    outcome = Outcome(edit, version, verdict, gate, replaced=replaced)
    if edit is not None:
        # Without those of a part: later ones, of the whole set, must not be compared with them.
        changes = {name: change for name, change in verdict.changes.items() if not change.is_partial}
        edit = replace(
            edit,
            before={name: change.before for name, change in changes.items()},
            after={name: change.after for name, change in changes.items()},
            reasons=() if outcome.is_accepted else verdict.reasons,
            rejection=None if outcome.is_accepted else verdict.rejection,
            held_out=sum(verdict.changes[name].utterances for name in edit.domains if name in verdict.changes),
        )
    if outcome.promoted:
        baked(bundle)
        if bundled := test_sets.bundled_guard_set:
            write_cached(ledger.folder, bundle, bundled, after[GUARD_SET].first(len(bundled)))
        wer = {name: hypotheses.wer for name, hypotheses in after.items()}
        # The replaced version is compared with the new one: its figures must be of the same recordings.
        ledger.record_wer(ledger.current, {name: hypotheses.wer for name, hypotheses in test_sets.before.items()})
        ledger.promote(replace(version, wer=wer), edit)
    elif edit is not None and not gate.dry_run:
        ledger.reject(edit)
    clean_up(ledger)
    return replace(outcome, edit=edit)


def judge_draft(
    store: Store,
    ledger: Ledger,
    version: Version,
    edit: Edit | None,
    domain: str,
    gate: GatePolicy,
    context: ExecutionContext,
    also_checked: Sequence[str] = (),
) -> Outcome:
    """Builds the test sets for a draft that comes without a fine-tuning, and promotes or rejects the draft.

    The test sets are `domain`, every domain of the active version, those of `also_checked` that have recordings, and
    the guard set. The WER of `domain` must fall if the policy requires a gain.

    Raises:
        As `decide`.
    """
    transcriber = UtteranceTranscriber(ledger.bundle(ledger.current), context.threads)
    held_out = held_out_utterances(store, domain) if store.has_domain(domain) else []
    reporter = context.reporter
    test_sets = build_test_sets(store, ledger, domain, held_out or None, transcriber, reporter, also_checked)
    return decide(ledger, version, edit, test_sets, domain, gate, context)


def draft_edit(
    ledger: Ledger,
    kind: str,
    domains: Sequence[str],
    vectors: Sequence[TaskVector],
    method: str,
    settings: Mapping[str, object],
) -> Edit:
    """Stores task vectors and returns an edit that merges them, with the next number; the ledger has it only later.

    Args:
        ledger: the ledger, inside `ledger.changing()`.
        kind: the kind of the edit, as in `Edit`.
        domains: the domains of the edit.
        vectors: the task vectors to merge.
        method, settings: those of the merge, including the defaults.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    utterances, seconds = training_size([vector.origin for vector in vectors])
    return Edit(
        id=len(ledger.edits) + 1,
        kind=kind,
        domains=domains,
        vectors=[ledger.store_vector(vector) for vector in vectors],
        method=method,
        settings=settings,
        utterances=utterances,
        seconds=seconds,
    )


def clean_up(ledger: Ledger) -> None:
    """Removes baked files that are not needed, and quarantines unreferenced task vectors.

    Removes the baked files of all versions but the active one, the previous one and the base. A task vector that no
    edit names is left by a killed `adapt`. What cannot be removed or moved, on a full disk for instance, is left to
    the next call: by then the change is in the ledger, and its result must be shown. Call it inside
    `ledger.changing()`.
    """
    kept = {ledger.current.id, ledger.current.parent, 0}
    needed = [version for version in ledger.versions if version.id in kept]
    others = [version for version in ledger.versions if version.id not in kept]
    for folder in _baked_folders(ledger, others) - _baked_folders(ledger, needed):
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(StorageError):
        ledger.quarantine_unreferenced()


def _baked_folders(ledger: Ledger, versions: Sequence[Version]) -> set[Path]:
    """The folders of the baked files of versions, in every precision; they may not exist."""
    bundles = map(ledger.bundle, versions)
    return {baked_folder(bundle, precision) for bundle in bundles for precision in PRECISIONS}
