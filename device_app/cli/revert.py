"""asr-edge revert, remix and rollback: take an edit back, weigh it otherwise, or go back a version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from device_app.cli import options
from device_app.cli.log import complete_edit
from device_app.cli.terminal import outcome as screen

if TYPE_CHECKING:
    from device_app.models.ledger import Ledger

Id = Annotated[
    int, typer.Argument(metavar="N", help="An edit, as 'asr-edge log' numbers them.", autocompletion=complete_edit)
]


def revert(edit: Id, model: options.Model = None) -> None:
    """Take an edit out of the model, also one in the middle; the others stay as they are."""
    from device_app.adaptation.adapt import tidy
    from device_app.models.bundles import baked

    ledger = _ledger(model)
    with ledger.changing():
        version = ledger.without(edit)
        baked(ledger.bundle(version))
        ledger.promote(version)
        tidy(ledger)
    typer.echo(f"Version {version.id} is in service, without edit {edit}; 'asr-edge remix {edit}' brings it back.")


def rollback(model: options.Model = None) -> None:
    """Go back, at once, to the version that was in service before."""
    ledger = _ledger(model)
    with ledger.changing():
        left = ledger.current
        version = ledger.roll_back()
    typer.echo(f"Version {version.id} is in service again ({version.why}); it was {left.id} ({left.why}).")


def remix(
    edit: Id,
    lam: options.Lambda = None,
    density: options.Density = None,
    tolerance: options.Tolerance = 1.0,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    model: options.Model = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Weigh an edit otherwise, or bring one back; nothing is learnt again.

    Exit code 3: the gate kept the model as it was.
    """
    from device_app.adaptation.adapt import weigh
    from device_app.adaptation.settings import Plan
    from device_app.data.store import Store

    settings, _ = options.merge_settings(lam, density)
    ledger = _ledger(model)
    with Store() as store, ledger.changing():
        version = ledger.with_settings(edit, **settings)
        # It need not be heard better than now: less of an edit is less gain, and may be what is wanted.
        is_new = not ledger.is_applied(edit)
        domain = ledger.edit(edit).domain
        plan = Plan(domain, tolerance=tolerance / 100, force=force, dry_run=dry_run, gains=is_new)
        outcome = weigh(store, ledger, version, None, plan, threads, screen.Terminal())
    screen.finish(outcome, as_json)


def _ledger(model: str | None) -> Ledger:
    from device_app.models.bundles import find_bundle
    from device_app.models.ledger import Ledger

    return Ledger(find_bundle(model))
