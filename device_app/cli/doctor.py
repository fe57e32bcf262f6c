"""asr-edge doctor: finds and repairs damage to the recordings, the edits and the model files made from them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from device_app.cli import options
from device_app.cli.printing import ask, echo, print_json

if TYPE_CHECKING:
    from device_app.data.store import Store
    from device_app.doctor import Examination
    from device_app.finding import Finding

SHOWN = 20  # findings of one kind; more are only counted


def doctor(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    missing_is_gone: Annotated[
        bool,
        typer.Option(
            "--missing-is-gone", help="Repair although most recordings are missing or damaged: quarantine their texts."
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Find damage by a crash or a missing disk in recordings and edits; repair it if you agree.

    Texts, damaged recordings and damaged edits are never deleted: they are moved to a folder 'quarantine'.

    Exit code 1: something was found and not changed.
    """
    from device_app.data.repair.database import examine_database
    from device_app.data.store import Store
    from device_app.doctor import examine_all, faults, remaining_faults
    from device_app.paths import data_folder

    damage = examine_database(data_folder())
    if damage:
        _repair_database(damage, dry_run, yes, as_json)
    with Store() as store:
        found = examine_all(store)
        if not as_json:
            _show(found, is_lost=not damage and found.is_database_lost)
        is_repaired = False
        try:
            is_repaired = _repair(store, found, dry_run, yes, missing_is_gone)
        finally:
            _print_json([*damage, *found.findings], is_repaired or bool(damage), as_json)
        if is_repaired:
            where = f" What was moved out of the store is in {store.quarantine.folder}." if found.store else ""
            options.tell(f"Repaired.{where}")
    remaining = remaining_faults() if is_repaired else faults(found.models)
    if is_repaired and remaining and not as_json:
        options.tell("Faults remain; another 'asr-edge doctor' may repair some of them:")
        _show_groups(remaining)
    if remaining or (found.store and not is_repaired):
        raise typer.Exit(1)


def _repair_database(damage: Sequence[Finding], dry_run: bool, yes: bool, as_json: bool) -> None:
    """Repairs a damaged database file, without which the store cannot be examined.

    Raises:
        typer.Exit: it is not repaired, because of --dry-run or because the user does not agree.
    """
    from device_app.finding import repair_all
    from device_app.models.check import examine_models
    from device_app.paths import data_folder

    if not as_json:
        _show_groups(damage)
    if dry_run or not _user_agrees(yes):
        _print_json([*damage, *examine_models()], False, as_json)
        raise typer.Exit(1)
    repair_all(damage)
    options.tell(f"The damaged database was moved to {data_folder() / 'quarantine'}; a new one takes its place.")


def _repair(store: Store, found: Examination, dry_run: bool, yes: bool, missing_is_gone: bool) -> bool:
    """Repairs the store and the models if the user agrees; returns whether it did."""
    from device_app.doctor import check_repairable, repair

    if not missing_is_gone:
        check_repairable(store, found)
    if not found.is_repairable or dry_run or not _user_agrees(yes):
        return False
    repair(store, found, missing_is_gone=missing_is_gone)
    return True


def _show(found: Examination, *, is_lost: bool) -> None:
    """Shows all findings, faults and notices; `is_lost`: the database was probably lost."""
    from device_app.doctor import faults

    if not found.store:
        echo("All recordings and texts are in order.")
    if not faults(found.models):
        echo("The edits and the model files made from them are in order.")
    _show_groups(found.findings)
    if is_lost:
        options.tell(
            "The database has no utterances. If an import did not finish, nothing is lost: run the same import again; "
            "'doctor' then removes what is left of the first. If there were utterances before, and you have a backup "
            "of store.sqlite3, put it back first."
        )


def _show_groups(findings: Sequence[Finding]) -> None:
    """Shows findings by kind, with the remedy of each kind."""
    for kind, group in groupby(sorted(findings, key=lambda one: one.kind), key=lambda one: one.kind):
        found = list(group)
        echo(f"{kind[0].upper()}{kind[1:]} ({len(found)}): {found[0].remedy}")
        for finding in found[:SHOWN]:
            echo(f"  {finding.line}")
        if len(found) > SHOWN:
            echo(f"  and {len(found) - SHOWN} more (--json lists all)")


def _user_agrees(yes: bool) -> bool:
    """Whether to repair: --yes, or the user's answer; without a terminal nobody can answer, so no."""
    if yes:
        return True
    if not sys.stdin.isatty():
        options.tell("Nothing was changed. 'asr-edge doctor --yes' repairs without asking.")
        return False
    return ask("Repair this?")


def _print_json(findings: Sequence[Finding], repaired: bool, as_json: bool) -> None:
    if as_json:
        lines = [{"kind": one.kind, "line": one.line, "remedy": one.remedy} for one in findings]
        print_json({"findings": lines, "repaired": repaired})
