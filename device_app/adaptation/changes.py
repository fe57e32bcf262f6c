"""Changes the model without a fine-tuning: merges given task vectors, changes the weight of an edit, or removes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from device_app.adaptation.decision import Outcome, clean_up, draft_edit, judge_draft
from device_app.adaptation.settings import GatePolicy, MergeSettings
from device_app.data.names import is_reserved
from device_app.data.store import Store
from device_app.execution import ExecutionContext
from device_app.models.baking import baked
from device_app.models.ledger import Ledger, Version
from editing.errors import BadInputError
from editing.files import sha256
from editing.methods import METHODS
from editing.task_vector import TaskVector


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
    also_checked: Sequence[str] = (),
) -> Outcome:
    """Merges given task vectors into one edit, and promotes or rejects it. Call it inside `ledger.changing()`.

    Args:
        store: the store with recordings for the test sets, if there are any.
        ledger: the ledger of the model.
        vectors: task vectors by the name to use in error messages.
        kind: the kind of the edit, as in `Edit`.
        merge: method and settings.
        domain: its WER must fall if the policy requires a gain and there are held-out utterances of it.
        gate: the policy.
        context: threads and reporter.
        replaced: numbers of the edits that the new one replaces.
        also_checked: more domains whose WER must not rise, even if the active version has no edit of them.

    Raises:
        WrongBaseError, TaskVectorError: a vector does not fit the model; nothing was changed.
        BadInputError: the method does not exist, or cannot merge these vectors; an active edit that is not replaced has
            one of them.
    """
    settings = merge.with_defaults(len(vectors), ledger.base.shapes())
    ledger.check(vectors)
    for name, vector in vectors.items():
        if is_reserved(vector.origin.domain):  # it would be measured as the new domain, and its harm not be seen
            raise BadInputError(
                f"{name}: its domain is called {vector.origin.domain!r}, like the recordings that every edit is "
                "checked on; nothing was changed"
            )
    try:  # merges once to find errors before anything is stored; `decide` merges again
        METHODS[merge.method]([vector.tensors for vector in vectors.values()], **settings)
    except BadInputError as error:
        raise BadInputError(f"{merge.method}: {error}; nothing was changed") from error
    domains = list(dict.fromkeys(vector.origin.domain for vector in vectors.values()))
    edit = draft_edit(ledger, kind, domains, list(vectors.values()), merge.method, settings)
    try:
        version = ledger.with_edit(edit, replaced)
    except BadInputError:
        ledger.quarantine_unreferenced()  # deletes what was stored since `changing` was entered: by `draft_edit`
        raise
    return judge_draft(store, ledger, version, edit, domain, gate, context, [*domains, *also_checked])


def load_vectors(ledger: Ledger, names: Sequence[str]) -> dict[str, TaskVector]:
    """Loads task vectors to merge.

    Args:
        ledger: the ledger of the model.
        names: numbers of edits, or paths of files.

    Returns:
        The vectors by the name to use in error messages.

    Raises:
        BadInputError: an edit or a file is named twice, two have the same task vector, or there is no such edit.
        WrongBaseError, TaskVectorError: a file is not a task vector of this model.
    """
    found: dict[str, TaskVector] = {}
    seen: dict[object, str] = {}
    owners: dict[str, str] = {}  # the edit or file, as it was named, by the task vector
    for name in names:
        source = int(name) if name.isdecimal() else Path(name).resolve()
        if source in seen:
            raise BadInputError(f"{name} is given twice{'' if seen[source] == name else f', also as {seen[source]}'}")
        seen[source] = name
        if isinstance(source, int):
            digests = ledger.edit(source).vectors
            labels = (
                [f"edit {name}"] if len(digests) == 1 else [f"edit {name}, vector {i + 1}" for i in range(len(digests))]
            )
            found |= dict(zip(labels, map(ledger.vector, digests), strict=True))
        else:
            found[name] = ledger.load(Path(name))
            digests = [sha256(source)] if source.is_file() else []
        if shared := next((owners[digest] for digest in digests if digest in owners), None):
            what = f"{shared} and {name} have the same task vector"
            raise BadInputError(f"{what}, which would be merged twice; name one of them")
        owners |= dict.fromkeys(digests, name)
    return found


def repeated_finetunings(ledger: Ledger, version: Version) -> list[str]:
    """Which task vectors of a version are of one fine-tuning, as one sentence for each, without its full stop.

    A vector that was trimmed when it was exported is another file than that of its edit, but has the same origin.
    """
    owners: dict[tuple[object, ...], int] = {}
    found = []
    for applied in version.applied:
        domain = ledger.edit(applied.edit).domain
        for fine_tuning in ledger.files.fine_tunings(applied.vectors):
            if (owner := owners.setdefault(fine_tuning, applied.edit)) != applied.edit:
                found.append(f"edits {owner} and {applied.edit} have task vectors of the same fine-tuning, on {domain}")
    return found


def reweight(
    store: Store,
    ledger: Ledger,
    edit: int,
    merge: Mapping[str, object],
    gate: GatePolicy,
    context: ExecutionContext,
) -> Outcome:
    """Applies an edit with other settings, or one that is not part of the active version; the gate decides.

    A gain is required only if the edit is not applied yet. A smaller weight of an applied edit has a smaller gain:
    its domains may then be recognised worse than before.

    Args:
        store: the store with recordings for the test sets, if there are any.
        ledger: the ledger of the model, inside `ledger.changing()`.
        edit: the number of the edit.
        merge: the settings of the merge method to change.
        gate: the policy.
        context: threads and reporter.

    Raises:
        BadInputError: there is no such edit, or its method has no such setting.
        StorageError: the disk is full or cannot be written, or a task vector of the edit is missing or damaged; the
            active version stays.
    """
    version, now = ledger.with_settings(edit, **merge), ledger.edit(edit)
    for digest in now.vectors:  # a missing one is reported before the measurement, which takes minutes
        ledger.vector(digest)
    applied = ledger.current.how_applied(edit)
    is_less = applied is not None and _is_less(merge, applied.settings)
    policy = replace(gate, requires_gain=applied is None, may_get_worse=now.domains if is_less else ())
    return judge_draft(store, ledger, version, None, now.domain, policy, context, now.domains)


def _is_less(settings: Mapping[str, object], before: Mapping[str, object]) -> bool:
    """Whether new settings of an edit only make its step smaller: lambda or density, which are single numbers."""
    pairs = [(now, before.get(name)) for name, now in settings.items() if name in ("lam", "density")]
    return len(pairs) == len(settings) > 0 and all(
        isinstance(now, int | float) and isinstance(old, int | float) and (0 <= now <= old or old <= now <= 0)
        for now, old in pairs
    )


def revert(ledger: Ledger, edit: int) -> Version:
    """Removes one edit from the active version. Call it inside `ledger.changing()`.

    Returns:
        The version that is active now.

    Raises:
        BadInputError: the active version does not have this edit.
        StorageError: the disk is full or cannot be written; the active version stays.
    """
    version = ledger.without(edit)
    baked(ledger.bundle(version))
    ledger.promote(version)
    clean_up(ledger)
    return version


def roll_back(ledger: Ledger) -> Version:
    """Makes the previous version active again, once its files are baked. Call it inside `ledger.changing()`.

    Returns:
        The version that is active now.

    Raises:
        BadInputError: the base is active.
        StorageError: the disk is full, or a task vector is missing or damaged; the active version stays.
    """
    baked(ledger.bundle(ledger.previous()))
    return ledger.roll_back()
