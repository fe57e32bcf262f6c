"""What becomes of a drafted version: it is baked, scored on every test set, judged, and promoted or rejected."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from device_app.adaptation.gate import Verdict, judge
from device_app.adaptation.settings import GatePolicy, MergeSettings
from device_app.adaptation.sweep import Candidate
from device_app.adaptation.test_sets import TestSets, build_test_sets, held_out_of, transcribe_sets
from device_app.data.store import Store
from device_app.execution import ExecutionContext
from device_app.models.baking import baked, baked_folder, temporarily_baked
from device_app.models.ledger import Edit, Ledger, Version
from device_app.recognition.transcriber import Transcriber
from editing.errors import BadInputError
from editing.registry import METHODS
from editing.task_vector import TaskVector


@dataclass(frozen=True)
class Outcome:
    """What came of a drafted version.

    Attributes:
        edit: the new edit as the ledger has it; None where the version has no new one.
        version: the draft.
        verdict: of the gate.
        promoted: whether it is the active version now.
        candidates: of the sweep, if there was one.
        losses: training loss per token of each epoch.
        finetuning_s: seconds of fine-tuning.
        norm: of the task vector.
    """

    edit: Edit | None
    version: Version
    verdict: Verdict
    promoted: bool
    candidates: Sequence[Candidate] = ()
    losses: Sequence[float] = ()
    finetuning_s: float = 0.0
    norm: float = 0.0


def decide(
    ledger: Ledger,
    version: Version,
    edit: Edit | None,
    test_sets: TestSets,
    domain: str,
    gate: GatePolicy,
    context: ExecutionContext,
) -> Outcome:
    """Bakes a version, transcribes every test set with the int8 file that would become active, judges, records.

    Args:
        ledger: while it is changing.
        version: drafted.
        edit: that is new with it, if one is.
        test_sets: what to judge by, with the hypotheses of the active version.
        domain: its WER must fall, if the policy requires a gain and there is a test set of it.
        gate: the policy.
        context: threads and reporter.

    Raises:
        StorageError: the disk is full or cannot be written; the active version stays.
    """
    bundle = ledger.bundle(version)
    with temporarily_baked(bundle, bundle.weights()) as folder:
        transcriber = Transcriber(bundle, threads=context.threads, folder=folder)
        after = transcribe_sets(transcriber, test_sets.sets, context.reporter, "hearing as it would be")
    new_domain = domain if gate.requires_gain and domain in test_sets.sets else None
    verdict = judge(test_sets.before, after, new_domain, gate.tolerance)
    promoted = (verdict.passes or gate.force) and not gate.dry_run
    if edit is not None:
        changes = verdict.changes.items()
        edit = replace(
            edit,
            before={name: change.before for name, change in changes},
            after={name: change.after for name, change in changes},
            reasons=() if promoted else verdict.reasons,
        )
    if promoted:
        baked(bundle)
        wer = {name: hypotheses.wer for name, hypotheses in after.items()}
        ledger.promote(replace(version, wer=wer), edit)
    elif edit is not None and not gate.dry_run:
        ledger.reject(edit)
    tidy(ledger)
    return Outcome(edit, version, verdict, promoted)


def judge_draft(
    store: Store,
    ledger: Ledger,
    version: Version,
    edit: Edit | None,
    domain: str,
    gate: GatePolicy,
    context: ExecutionContext,
) -> Outcome:
    """Judges a version that was drafted without a fine-tuning, and promotes it if it passes.

    The test sets are those of every domain that it or the active version was adapted to, as far as there are
    recordings, and the guard set; the WER of `domain` must fall, if the policy requires a gain.

    Raises:
        As `decide`.
    """
    transcriber = Transcriber(ledger.bundle(ledger.current), threads=context.threads)
    is_known = any(stats.domain == domain for stats in store.stats())
    held_out = held_out_of(store, domain) if is_known else []
    test_sets = build_test_sets(store, ledger, domain, held_out or None, transcriber, context.reporter)
    return decide(ledger, version, edit, test_sets, domain, gate, context)


def merge_vectors(
    store: Store,
    ledger: Ledger,
    vectors: Mapping[str, TaskVector],
    kind: str,
    merge: MergeSettings,
    domain: str,
    gate: GatePolicy,
    context: ExecutionContext,
    replaced: Sequence[int] = (),
) -> Outcome:
    """Merges task vectors from anywhere into one edit, and judges it. Call it while the ledger is changing.

    Args:
        store: where there may be recordings to judge by.
        ledger: of the model.
        vectors: by what errors call them.
        kind: of the edit, as in `Edit`.
        merge: method and settings.
        domain: its WER must fall, if the policy requires a gain and there are held-out utterances of it.
        gate: the policy.
        context: threads and reporter.
        replaced: edits that the new one takes the place of.

    Raises:
        WrongBaseError, TaskVectorError: a vector does not fit the model; nothing was changed.
        BadInputError: the method does not exist, or cannot merge these.
    """
    settings = merge.with_defaults(len(vectors))
    ledger.check(vectors)
    try:
        METHODS[merge.method]([vector.tensors for vector in vectors.values()], **settings)
    except ValueError as error:
        raise BadInputError(f"{merge.method}: {error}; nothing was changed") from error
    origins = [vector.origin for vector in vectors.values()]
    edit = Edit(
        id=len(ledger.edits) + 1,
        kind=kind,
        domains=list(dict.fromkeys(origin.domain for origin in origins)),
        vectors=[ledger.keep(vector) for vector in vectors.values()],
        method=merge.method,
        settings=settings,
        utterances=sum(origin.utterances for origin in origins),
        seconds=sum(origin.seconds for origin in origins),
    )
    return judge_draft(store, ledger, ledger.drafted(edit, replaced), edit, domain, gate, context)


def reweight(
    store: Store,
    ledger: Ledger,
    edit: int,
    merge: Mapping[str, object],
    gate: GatePolicy,
    context: ExecutionContext,
) -> Outcome:
    """Applies an edit with other settings, or one that is not part of the active version, and judges the result.

    A gain is required only of an edit that is not applied yet: less of an edit is less gain, and may
    be what is wanted.

    Args:
        store: where there may be recordings to judge by.
        ledger: of the model, while it is changing.
        edit: the number of the edit.
        merge: settings of the edit's method that change.
        gate: the policy.
        context: threads and reporter.

    Raises:
        BadInputError: there is no such edit, or its method has no such setting.
        StorageError: the disk is full or cannot be written; the active version stays.
    """
    version = ledger.with_settings(edit, **merge)
    policy = replace(gate, requires_gain=not ledger.is_applied(edit))
    return judge_draft(store, ledger, version, None, ledger.edit(edit).domain, policy, context)


def revert(ledger: Ledger, edit: int) -> Version:
    """Promotes the active version without one of its edits. Call it while the ledger is changing.

    Returns:
        The version that is active now.

    Raises:
        BadInputError: the active version does not have this edit.
        StorageError: the disk is full or cannot be written; the active version stays.
    """
    version = ledger.without(edit)
    baked(ledger.bundle(version))
    ledger.promote(version)
    tidy(ledger)
    return version


def tidy(ledger: Ledger) -> None:
    """Removes what can be made again, and puts aside what cannot. Call it while the ledger is changing.

    Baked files of versions that are neither active, nor the one before, nor the base are
    removed; task vectors that no edit names, which a killed `adapt` leaves, go into quarantine.
    """
    kept = {ledger.current.id, ledger.current.parent, 0}
    folders = {version.id: baked_folder(ledger.bundle(version)) for version in ledger.versions}
    keep = {folders[identity] for identity in kept if identity is not None}
    for folder in set(folders.values()) - keep:
        shutil.rmtree(folder, ignore_errors=True)
    ledger.put_aside_unnamed()
