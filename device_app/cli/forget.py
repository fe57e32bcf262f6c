"""asr-edge forget: deletes recordings and the edits that were trained on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from device_app.cli import completion, options
from device_app.cli.printing import ask, echo, print_json
from editing.errors import counted

if TYPE_CHECKING:
    from device_app.forgetting.forget import Plan
    from device_app.models.ledger_record import Edit


def forget(
    everything: Annotated[bool, typer.Option("--everything", help="All recordings, edits and terms.")] = False,
    speaker: Annotated[str | None, typer.Option(help="All recordings of a speaker.")] = None,
    domain: Annotated[
        str | None, typer.Option(help="All recordings of a domain.", autocompletion=completion.complete_domain)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: options.Json = False,
) -> None:
    """Delete recordings, and the edits that were trained on them.

    Shows first what would be deleted, what depends on it, and which copies stay.
    """
    from device_app.data.store import Store
    from device_app.forgetting.forget import Selection, plan
    from device_app.forgetting.forget import forget as run

    selection = Selection(everything, speaker, domain)
    with Store() as store:
        found = plan(store, selection)
        if not as_json or not yes:
            _show(found)
        if not dry_run:
            if not yes and not ask("Delete this for good?"):
                raise typer.Exit(1)
            run(store, found)
    if as_json:
        print_json(_record(found, is_done=not dry_run))
    elif not dry_run:
        echo(f"{counted(len(found.recordings), 'recording')} and {counted(_count(found.edits), 'edit')} deleted")


def _show(found: Plan) -> None:
    """Prints what would be deleted, what depends on it, and which copies stay."""
    options.tell(counted(len(found.recordings), "recording"))
    if found.terms or found.replacements:
        options.tell(
            f"{counted(found.terms, 'term')} and {counted(found.replacements, 'replacement')} of 'asr-edge terms'"
        )
    for edit in _all(found.edits):
        options.tell(f"edit {edit.id}: {edit.kind} {edit.domain}, {edit.created[:10]}")
    for edit in _all(found.dependent):
        options.tell(
            f"! Edit {edit.id} ({edit.domain}) stays, but may have been trained on top of these, or on their "
            "recordings (--replay); 'forget' its domain too, or adapt it again."
        )
    for edit in _all(found.no_longer_used):
        options.tell(
            f"! Edit {edit.id} ({edit.domain}) stays, but the model has it only as a part of a merge that goes. "
            "'asr-edge reweight' with its new number in 'asr-edge log' adds it again."
        )
    if found.selection.speaker is not None and _count(found.edits):
        options.tell("! Recordings of other speakers stay; 'asr-edge adapt' trains their domains again.")
    if _count(found.edits):
        options.tell("The remaining edits are numbered anew.")
    for line in found.untouched:
        options.tell(f"Not touched: {line}")


def _record(found: Plan, *, is_done: bool) -> dict[str, object]:
    """The JSON document."""
    return {
        "done": is_done,
        "recordings": len(found.recordings),
        "edits": [{"base": folder.name, **asdict(edit)} for folder, edits in found.edits.items() for edit in edits],
        "dependent": _named(found.dependent),
        "no_longer_used": _named(found.no_longer_used),
        "terms": found.terms,
        "replacements": found.replacements,
        "untouched": list(found.untouched),
    }


def _named(edits: Mapping[Path, Sequence[Edit]]) -> list[dict[str, object]]:
    """The numbers and domains of edits."""
    return [
        {"base": folder.name, "id": edit.id, "domains": list(edit.domains)}
        for folder, of_model in edits.items()
        for edit in of_model
    ]


def _all(edits: Mapping[Path, Sequence[Edit]]) -> list[Edit]:
    """The edits of all models, from those by the folder of each model's ledger."""
    return [edit for of_model in edits.values() for edit in of_model]


def _count(edits: Mapping[Path, Sequence[Edit]]) -> int:
    return len(_all(edits))
