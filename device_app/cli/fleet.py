"""asr-edge contribute and fleet: give what was learnt to a group of devices, and take what the group learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from device_app.cli import options
from device_app.cli.log import complete_edit
from device_app.cli.terminal import outcome as screen

app = typer.Typer(help="What a group of devices learnt together.", no_args_is_help=True)

Group = Annotated[str, typer.Option(help="A group of devices; the host's owner put this one into it.")]


def contribute(
    edit: Annotated[int, typer.Argument(metavar="N", help="An edit.", autocompletion=complete_edit)],
    group: Group,
    on: options.Host,
    density: Annotated[float, typer.Option(min=0.0, max=1.0, help="Send this fraction of the vector.")] = 0.5,
    model: options.Model = None,
) -> None:
    """Give an edit's task vector to a group: no recordings, no texts.

    Not even the domain's name. What goes: differences of weights, how many utterances they were
    learnt from, WER before and after.
    """
    from device_app.data.names import GUARD_SET
    from device_app.models.bundles import find_bundle
    from device_app.models.ledger import Ledger
    from device_app.remote.client import HostClient
    from device_app.remote.trusted_hosts import find_host
    from editing.errors import BadInputError

    ledger = Ledger(find_bundle(model))
    found = ledger.edit(edit)
    if len(found.vectors) != 1 or found.kind != "adapt":
        raise BadInputError(f"edit {edit} was not learnt on this device; give those that were ('asr-edge log')")
    domain = found.domains[0]
    scores = {
        name: wer[key]
        for name, wer, key in (
            ("before", found.before, domain),
            ("after", found.after, domain),
            ("canary_before", found.before, GUARD_SET),
            ("canary_after", found.after, GUARD_SET),
        )
        if key in wer
    }
    vector = ledger.vector(found.vectors[0])
    origin = replace(vector.origin, domain="", method="trim", density=density, scores=scores)
    data = replace(vector.trimmed(density), origin=origin).to_bytes()
    with HostClient(find_host(on), options.tell) as client:
        client.contribute(group, data)
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
    import tempfile
    from pathlib import Path

    from device_app.adaptation.adapt import merge_vectors
    from device_app.adaptation.settings import Plan
    from device_app.data.store import Store
    from device_app.models.bundles import find_bundle
    from device_app.models.ledger import Ledger
    from device_app.paths import data_folder
    from device_app.remote.client import HostClient
    from device_app.remote.signatures import check, verified
    from device_app.remote.trusted_hosts import find_host
    from editing.errors import BadInputError
    from editing.files import make_folder

    settings, _ = options.merge_settings(lam, None)
    host = find_host(on)
    ledger = Ledger(find_bundle(model))
    base = ledger.base.weights_hash
    make_folder(data_folder())
    with (
        HostClient(host, options.tell) as client,
        tempfile.TemporaryDirectory(dir=data_folder(), prefix="fleet-") as folder,
    ):
        offer = client.fleet(group, base)
        record = verified(offer["statement"], offer["signature"], host.key)
        check(record, {"kind": "fleet", "group": group, "base": base})
        path = Path(folder) / "vector.safetensors"
        if client.fleet_vector(group, base, path) != record["vector"]:
            raise BadInputError(f"{host.url}: sent another task vector than it signed; nothing was merged")
        vector = ledger.load(path, name=host.url)
    vector = replace(vector, origin=replace(vector.origin, domain=group))
    with Store() as store, ledger.changing():
        older = [one.id for one in ledger.edits if one.kind == "fleet" and one.domains == [group]]
        plan = Plan(
            "",
            "task_arithmetic",
            {"lam": 0.6, **settings},
            tolerance=tolerance / 100,
            force=force,
            dry_run=dry_run,
            gains=False,
        )
        outcome = merge_vectors(
            store, ledger, {host.url: vector}, "fleet", plan, threads, screen.Terminal(), replaced=older
        )
    screen.finish(outcome, as_json)
