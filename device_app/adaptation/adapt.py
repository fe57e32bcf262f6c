"""From a domain's labelled utterances, or from task vectors, to a judged version.

The fine-tuning itself is handed in, as it needs torch, or another machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from device_app.adaptation.gate import Verdict, judge
from device_app.adaptation.settings import Plan, settings_of
from device_app.adaptation.sweep import Candidate, choose, sweep
from device_app.adaptation.test_sets import Exam, examine, hear, held_out_of
from device_app.adaptation.training_set import Learnt, Tune, prepare
from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.models.bundles import baked, baked_folder, temporarily_baked
from device_app.models.ledger import Edit, Ledger, Version
from device_app.recognition.transcriber import Transcriber
from device_app.reporter import Screen
from editing.errors import BadInputError
from editing.registry import METHODS
from editing.task_vector import TaskVector


@dataclass(frozen=True)
class Outcome:
    """What came of a drafted version.

    Attributes:
        edit: that was new with it, as it is in the ledger.
        version: the draft.
        verdict: of the gate.
        promoted: whether it is in service now.
        candidates: of the sweep, if there was one.
        losses: training loss per token of each epoch.
        tuning_s: seconds of fine-tuning.
        norm: of the task vector.
    """

    edit: Edit | None
    version: Version
    verdict: Verdict
    promoted: bool
    candidates: Sequence[Candidate] = ()
    losses: Sequence[float] = ()
    tuning_s: float = 0.0
    norm: float = 0.0


def adapt(store: Store, ledger: Ledger, plan: Plan, tune: Tune, threads: int | None, screen: Screen) -> Outcome:
    """Learns a domain: fine-tunes, takes the difference, merges, bakes, scores, decides, records.

    Until the last step, which is one, nothing has changed but files that are cleaned up later.

    Args:
        store: where the utterances are.
        ledger: of the model that is to learn.
        plan: how.
        tune: does the fine-tuning.
        threads: for the recogniser.
        screen: is told.

    Raises:
        BadInputError: too few labelled utterances, no speech, or labels that belong to other recordings.
        TrainingError: the fine-tuning cannot go on.
        StorageError: the disk is full or cannot be written.
    """
    exam, lesson = prepare(store, ledger, plan, threads, screen)
    return conclude(ledger, plan, exam, tune(lesson), threads, screen)


def conclude(ledger: Ledger, plan: Plan, exam: Exam, learnt: Learnt, threads: int | None, screen: Screen) -> Outcome:
    """Merges what was learnt, bakes, scores, decides, records. Call it while the ledger is changing.

    Raises:
        TaskVectorError: the vector does not fit the model.
        StorageError: the disk is full or cannot be written.
    """
    settings = settings_of(plan)
    vector = learnt.vector
    candidates: list[Candidate] = []
    if plan.sweep:
        start = ledger.bundle(ledger.current)
        candidates = sweep(start, vector, plan, exam, threads, screen)
        best = choose(candidates, plan)
        settings |= {"lam": best.lam, "density": best.density} if "density" in settings else {"lam": best.lam}
    edit = Edit(
        id=len(ledger.edits) + 1,
        kind="adapt",
        domains=[plan.domain],
        vectors=[ledger.keep(vector)],
        method=plan.method,
        settings=settings,
        utterances=vector.origin.utterances,
        seconds=vector.origin.seconds,
    )
    outcome = decide(ledger, ledger.drafted(edit), edit, exam, plan, threads, screen)
    return replace(outcome, candidates=candidates, losses=learnt.losses, tuning_s=learnt.seconds, norm=vector.norm)


def decide(
    ledger: Ledger,
    version: Version,
    edit: Edit | None,
    exam: Exam,
    plan: Plan,
    threads: int | None,
    screen: Screen,
) -> Outcome:
    """Bakes a version, hears every set with the int8 file that would go into service, judges, records.

    Args:
        ledger: while it is changing.
        version: drafted.
        edit: that is new with it, if one is.
        exam: what to judge by, and what the version in service hears in it.
        plan: its domain, if the exam has it, must be heard better; its tolerance, force and dry run count.
        threads: for the recogniser.
        screen: is told.

    Raises:
        StorageError: the disk is full or cannot be written; the version in service stays.
    """
    bundle = ledger.bundle(version)
    with temporarily_baked(bundle, bundle.weights()) as folder:
        transcriber = Transcriber(bundle, threads=threads, folder=folder)
        after = hear(transcriber, exam.sets, screen, "hearing as it would be")
    new_domain = plan.domain if plan.gains and plan.domain in exam.sets else None
    verdict = judge(exam.before, after, new_domain, plan.tolerance)
    promoted = (verdict.passes or plan.force) and not plan.dry_run
    if edit is not None:
        changes = verdict.changes.items()
        edit = replace(
            edit,
            before={domain: change.before for domain, change in changes},
            after={domain: change.after for domain, change in changes},
            reasons=() if promoted else verdict.reasons,
        )
    if promoted:
        baked(bundle)
        ledger.promote(replace(version, wer={domain: heard.wer for domain, heard in after.items()}), edit)
    elif edit is not None and not plan.dry_run:
        ledger.keep_out(edit)
    tidy(ledger)
    return Outcome(edit, version, verdict, promoted)


def weigh(
    store: Store,
    ledger: Ledger,
    version: Version,
    edit: Edit | None,
    plan: Plan,
    threads: int | None,
    screen: Screen,
) -> Outcome:
    """Judges a version that was drafted without learning, and puts it into service if it passes.

    It is heard on every domain that it or the version in service has learnt, as far as there are
    recordings, and on the canary; `plan.domain`, if it has held-out utterances, must improve.

    Raises:
        As `decide`.
    """
    transcriber = Transcriber(ledger.bundle(ledger.current), threads=threads)
    is_known = any(stats.domain == plan.domain for stats in store.stats())
    held_out = held_out_of(store, plan.domain) if is_known else []
    exam = examine(store, ledger, plan.domain, held_out or None, transcriber, screen)
    return decide(ledger, version, edit, exam, plan, threads, screen)


def merge_vectors(
    store: Store,
    ledger: Ledger,
    vectors: Mapping[str, TaskVector],
    kind: str,
    plan: Plan,
    threads: int | None,
    screen: Screen,
    replaced: Sequence[int] = (),
) -> Outcome:
    """Merges task vectors from anywhere into one edit, and judges it. Call it while the ledger is changing.

    Args:
        store: where there may be recordings to judge by.
        ledger: of the model.
        vectors: by what errors call them.
        kind: of the edit, as in `Edit`.
        plan: method, settings, tolerance; its domain must improve, where it has held-out utterances.
        threads: for the recogniser.
        screen: is told.
        replaced: edits that the new one takes the place of.

    Raises:
        WrongBaseError, TaskVectorError: a vector does not fit the model; nothing was changed.
        BadInputError: the method does not exist, or cannot merge these.
    """
    settings = settings_of(plan)
    ledger.check(vectors)
    try:
        METHODS[plan.method]([vector.tensors for vector in vectors.values()], **settings)
    except ValueError as error:
        raise BadInputError(f"{plan.method}: {error}; nothing was changed") from error
    origins = [vector.origin for vector in vectors.values()]
    edit = Edit(
        id=len(ledger.edits) + 1,
        kind=kind,
        domains=list(dict.fromkeys(origin.domain for origin in origins)),
        vectors=[ledger.keep(vector) for vector in vectors.values()],
        method=plan.method,
        settings=settings,
        utterances=sum(origin.utterances for origin in origins),
        seconds=sum(origin.seconds for origin in origins),
    )
    return weigh(store, ledger, ledger.drafted(edit, replaced), edit, plan, threads, screen)


def measure_versions(
    store: Store, ledger: Ledger, threads: int | None, screen: Screen
) -> tuple[list[str], list[Version]]:
    """The versions that led to the one in service, each heard on every domain that any has learnt.

    What was measured before is not measured again. Call it while the ledger is changing.

    Returns:
        The domains, in the order in which they were learnt, the canary last; and the versions.
    """
    known = {stats.domain for stats in store.stats()}
    learnt = dict.fromkeys(domain for version in ledger.history() for domain in ledger.learnt(version))
    domains = [domain for domain in learnt if domain in known]
    for version in ledger.history():
        missing = [domain for domain in (*domains, GUARD_SET) if domain not in version.wer]
        if missing:
            sets = {domain: held_out_of(store, domain) for domain in missing}
            transcriber = Transcriber(ledger.bundle(version), threads=threads)
            heard = hear(transcriber, sets, screen, f"hearing with version {version.id}")
            ledger.note(version, {domain: one.wer for domain, one in heard.items()})
    tidy(ledger)
    return [*domains, GUARD_SET], ledger.history()


def tidy(ledger: Ledger) -> None:
    """Removes what can be made again, and puts aside what cannot. Call it while the ledger is changing.

    Baked files of versions that are neither in service, nor the one before, nor the base are
    removed; task vectors that no edit names, which a killed `adapt` leaves, go into quarantine.
    """
    kept = {ledger.current.id, ledger.current.parent, 0}
    folders = {version.id: baked_folder(ledger.bundle(version)) for version in ledger.versions}
    keep = {folders[identity] for identity in kept if identity is not None}
    for folder in set(folders.values()) - keep:
        shutil.rmtree(folder, ignore_errors=True)
    ledger.put_aside_unnamed()
