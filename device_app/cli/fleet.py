"""asr-edge contribute and fleet: send task vectors to a group of devices, and merge the vector of the group."""

from __future__ import annotations

from typing import Annotated

import typer

from device_app.cli import completion, options
from device_app.cli.judging import change_model, open_ledger
from device_app.cli.printing import ask

app = typer.Typer(help="Share task vectors within a group of devices.", no_args_is_help=True)

Group = Annotated[str, typer.Option(help="A group of devices, to which the host's owner has added this one.")]


def contribute(
    edit: Annotated[int, typer.Argument(metavar="N", help="An edit.", autocompletion=completion.complete_edit)],
    group: Group,
    on: options.Host,
    density: Annotated[float, typer.Option(metavar=options.FRACTION, help="The fraction of entries to send.")] = 0.5,
    model: options.Model = None,
) -> None:
    """Send an edit's task vector to a group: no recordings, no texts.

    It contains weight differences, the number of utterances and WER, but not the domain's name.
    """
    from device_app.remote.client import HostClient
    from device_app.remote.fleet import contribution
    from device_app.remote.trusted_hosts import find_host

    data = contribution(open_ledger(model), edit, density)
    with HostClient(find_host(on), options.tell) as client:
        client.contribute(group, data)
    options.tell(f"Edit {edit} is sent to {group}: {len(data) / 1e6:.1f} MB.")


@app.command()
def pull(
    group: Group,
    on: options.Host,
    lam: Annotated[str | None, options.lambda_option("0.6")] = None,
    tolerance: options.Tolerance = options.DEFAULT_TOLERANCE,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask on a device without held-out recordings.")] = False,
    model: options.Model = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Merge a group's vector in place of the earlier one, if it passes the gate.

    The gate checks it on all recordings of this device that were held out, and on general speech.

    Exit code 3: the gate rejected it.
    """
    from device_app.adaptation.changes import merge_vectors
    from device_app.adaptation.decision import Outcome
    from device_app.adaptation.settings import MergeSettings
    from device_app.data.store import Store
    from device_app.execution import ExecutionContext
    from device_app.remote.fleet import PULL_LAMBDA, domains_with_test_sets, edits_of
    from device_app.remote.fleet import pull as fetch
    from device_app.remote.trusted_hosts import find_host

    settings = MergeSettings("task_arithmetic", {"lam": PULL_LAMBDA, **options.merge_settings(lam, None).settings})
    gate = options.gate_policy(tolerance, force=force, dry_run=dry_run, requires_gain=False)
    host = find_host(on)
    ledger = open_ledger(model)
    settings.check(vectors=1, parameters=ledger.base.shapes())  # before anything is read
    with Store() as store:
        own_domains = domains_with_test_sets(store)
    if not own_domains and not dry_run:
        options.tell(
            "! This device has no held-out recordings of its own with texts. So only general speech is checked, and a "
            "group's vector that makes it misrecognise your words would pass."
        )
        if not yes:
            ask("Continue?", abort=True)
    vectors = {host.url: fetch(host, group, ledger, options.tell)}

    def change(store: Store, context: ExecutionContext) -> Outcome:
        older = edits_of(ledger, group)
        return merge_vectors(
            store, ledger, vectors, "fleet", settings, "", gate, context, replaced=older, also_checked=own_domains
        )

    change_model(ledger, change, threads, as_json)
