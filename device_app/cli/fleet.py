"""asr-edge contribute and fleet: give what was learnt to a group of devices, and take what the group learnt."""

from __future__ import annotations

from typing import Annotated

import typer

from device_app.cli import options
from device_app.cli.judging import change_model, open_ledger

app = typer.Typer(help="What a group of devices learnt together.", no_args_is_help=True)

Group = Annotated[str, typer.Option(help="A group of devices; the host's owner put this one into it.")]


DEFAULTS = {"lam": 0.6}  # of a pull; the merge method has another one


def contribute(
    edit: Annotated[int, typer.Argument(metavar="N", help="An edit.", autocompletion=options.complete_edit)],
    group: Group,
    on: options.Host,
    density: Annotated[float, typer.Option(min=0.0, max=1.0, help="Send this fraction of the vector.")] = 0.5,
    model: options.Model = None,
) -> None:
    """Give an edit's task vector to a group: no recordings, no texts.

    Not even the domain's name. What goes: differences of weights, how many utterances they were
    learnt from, WER before and after.
    """
    from device_app.remote.fleet import contribute as send
    from device_app.remote.fleet import contribution
    from device_app.remote.trusted_hosts import find_host

    data = contribution(open_ledger(model), edit, density)
    send(find_host(on), group, data, options.tell)
    options.tell(f"Edit {edit} is given to {group}: {len(data) / 1e6:.1f} MB.")


@app.command()
def pull(
    group: Group,
    on: options.Host,
    lam: options.Lambda = None,
    tolerance: options.Tolerance = 1.0,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    model: options.Model = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Take what a group learnt together, in place of what was taken before. It passes the gate, or stays out.

    Exit code 3: the gate kept the old model.
    """
    from device_app.adaptation.decision import Outcome, merge_vectors
    from device_app.adaptation.settings import MergeSettings
    from device_app.data.store import Store
    from device_app.execution import ExecutionContext
    from device_app.remote.fleet import edits_of
    from device_app.remote.fleet import pull as fetch
    from device_app.remote.trusted_hosts import find_host

    settings = MergeSettings("task_arithmetic", {**DEFAULTS, **options.merge_settings(lam, None).settings})
    gate = options.gate_policy(tolerance, force=force, dry_run=dry_run, requires_gain=False)
    host = find_host(on)
    ledger = open_ledger(model)
    found = {host.url: fetch(host, group, ledger, options.tell)}

    def change(store: Store, context: ExecutionContext) -> Outcome:
        older = edits_of(ledger, group)
        return merge_vectors(store, ledger, found, "fleet", settings, "", gate, context, replaced=older)

    change_model(ledger, change, threads, as_json)
