"""asr-edge merge: merges several task vectors into one edit."""

from __future__ import annotations

from typing import Annotated

import typer

from device_app.cli import options
from device_app.cli.judging import change_model, open_ledger


def merge(
    vectors: Annotated[
        list[str], typer.Argument(metavar="N|FILE...", help="Edits of this machine, or files of task vectors.")
    ],
    lam: options.Lambda = None,
    method: options.Method = "ties",
    density: options.Density = None,
    others: options.Settings = None,
    tolerance: options.Tolerance = options.DEFAULT_TOLERANCE,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    model: options.Model = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Merge task vectors of several people or machines into one edit that replaces theirs.

    Exit code 3: the gate rejected it.
    """
    from device_app.adaptation.changes import load_vectors, merge_vectors
    from device_app.adaptation.decision import Outcome
    from device_app.data.store import Store
    from device_app.execution import ExecutionContext
    from editing.errors import BadInputError

    settings = options.merge_settings(lam, density, method, others)
    gate = options.gate_policy(tolerance, force=force, dry_run=dry_run)
    ledger = open_ledger(model)
    if len(vectors) < 2:
        raise BadInputError("name two or more vectors to merge; for one, use 'asr-edge vector import'")
    settings.check(parameters=ledger.base.shapes())  # before anything is read
    replaced = [int(name) for name in vectors if name.isdecimal()]

    def change(store: Store, context: ExecutionContext) -> Outcome:
        loaded = load_vectors(ledger, vectors)
        return merge_vectors(store, ledger, loaded, "merge", settings, "", gate, context, replaced)

    change_model(ledger, change, threads, as_json)
