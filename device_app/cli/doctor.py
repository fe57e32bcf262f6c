"""asr-edge doctor: finds and repairs damage of the store, the edits and the baked files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from device_app.cli import options
from device_app.cli.printing import ask, echo, print_json

if TYPE_CHECKING:
    from device_app.finding import Finding

SHOWN = 20  # findings of one kind


def doctor(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    missing_is_gone: Annotated[
        bool, typer.Option("--missing-is-gone", help="Continue even if most recordings are missing.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Find damage by a crash or a missing disk in recordings and edits; repair it if you agree.

    Texts, damaged audio, damaged ledgers and task vectors are never deleted, but go into a folder 'quarantine'.

    Exit code 1: something was found and not changed.
    """
    from device_app.data.database_repair import examine_database
    from device_app.data.repair import examine, mend, refuse_if_most_are_missing
    from device_app.data.store import Store
    from device_app.models.check import examine_models
    from device_app.paths import data_folder

    damage = examine_database(data_folder())
    if damage:
        if not as_json:
            _show_groups(damage)
        if dry_run or not _is_agreed(yes):
            _print_json([*damage, *examine_models()], False, as_json)
            raise typer.Exit(1)
        _mend_all(damage)
        options.tell(f"The database was put into {data_folder() / 'quarantine'}; a new one takes its place.")
    with Store() as store:
        findings, models = examine(store), examine_models()
        mends = [one for one in models if one.mend is not None]
        if not as_json:
            _show(findings, models, is_lost=not damage and not store.stats())
        try:
            if findings and not missing_is_gone:
                refuse_if_most_are_missing(store, findings)
            mending = bool(findings or mends) and not dry_run and _is_agreed(yes)
            if mending:
                mend(store, findings, missing_is_gone=missing_is_gone)
                _mend_all(mends)
        except BaseException:
            _print_json([*damage, *findings, *models], bool(damage), as_json)
            raise
        _print_json([*damage, *findings, *models], mending or bool(damage), as_json)
        if mending and findings:
            options.tell(f"Mended. What was taken out of the store is in {store.quarantine.folder}.")
        elif mending:
            options.tell("Mended.")
    # Examine again: a restored ledger may refer to other task vectors.
    left = [one for one in (examine_models() if mending else models) if one.is_fault]
    if mending and left and not as_json:
        options.tell("Left; 'asr-edge doctor' repairs what it can:")
        _show_groups(left)
    if left or (findings and not mending):
        raise typer.Exit(1)


def _mend_all(findings: Sequence[Finding]) -> None:
    for finding in findings:
        if finding.mend is not None:
            finding.mend()


def _show(findings: Sequence[Finding], models: Sequence[Finding], *, is_lost: bool) -> None:
    """Shows all findings; `is_lost`: the database is empty, so recordings without a row mean that it was lost."""
    from device_app.data.repair import UNKNOWN

    if not findings:
        echo("The store is whole.")
    if not any(one.is_fault for one in models):
        echo("The edits and the baked files are whole.")
    _show_groups([*findings, *models])
    if is_lost and any(one.kind == UNKNOWN for one in findings):
        options.tell("The database has no utterances. If you have a backup of store.sqlite3, put it back first.")


def _show_groups(findings: Sequence[Finding]) -> None:
    for kind, group in groupby(sorted(findings, key=lambda one: one.kind), key=lambda one: one.kind):
        found = list(group)
        echo(f"{len(found)} {kind}: {found[0].remedy}")
        for finding in found[:SHOWN]:
            echo(f"  {finding.line}")
        if len(found) > SHOWN:
            echo(f"  and {len(found) - SHOWN} more (--json lists all)")


def _is_agreed(yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        options.tell("Nothing was changed. 'asr-edge doctor --yes' repairs without asking.")
        return False
    return ask("Repair this?")


def _print_json(findings: Sequence[Finding], mended: bool, as_json: bool) -> None:
    if as_json:
        lines = [{"kind": one.kind, "line": one.line, "remedy": one.remedy} for one in findings]
        print_json({"findings": lines, "mended": mended})
