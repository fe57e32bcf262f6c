"""asr-edge guard: recordings of general speech that an edit must not make worse, beside the bundled ones."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from device_app.cli import options
from device_app.cli.import_ import print_report
from device_app.cli.judging import open_ledger
from device_app.cli.printing import ask, echo, print_json
from device_app.cli.terminal.progress import progress
from device_app.cli.terminal.table import print_table
from editing.errors import StorageError, counted

app = typer.Typer(help="Recordings that an edit must not make worse, beside the bundled ones.", no_args_is_help=True)


@app.command("add")
def add(
    manifest: Annotated[
        Path, typer.Argument(help="A manifest, or a folder with manifest.jsonl; every line has a text.")
    ],
    as_json: options.Json = False,
) -> None:
    """Add recordings with texts. They are only transcribed, never trained on."""
    from dataclasses import asdict, replace

    from device_app.data.importing import import_utterances, is_all_capitals
    from device_app.data.manifest import read_manifest
    from device_app.data.names import GUARD_SET
    from device_app.data.store import Store

    found = [replace(one, split="test") for one in read_manifest(manifest)]
    with Store() as store, progress("importing", len(found)) as advance:
        report = import_utterances(store, found, GUARD_SET, lower_case=is_all_capitals(found), on_done=advance)
    if as_json:
        print_json(asdict(report))
    else:
        print_report(report)
    if report.imported:
        _tell_of_other_rates()
    if report.unreadable or report.bad_texts or report.too_long or report.in_domains:
        raise typer.Exit(1)


@app.command("list")
def list_(as_json: options.Json = False) -> None:
    """Show the recordings that you added."""
    from device_app.adaptation.guard_set import guard_set
    from device_app.adaptation.guard_set.own import own_recordings
    from device_app.data.store import Store
    from device_app.models.bundles import find_bundle

    with Store() as store:
        own = own_recordings(store)
    if as_json:
        print_json([one.record() for one in own])
        return
    if own:
        rows = [(one.number, one.speaker or "", f"{one.duration_s:.1f} s", one.text or "") for one in own]
        print_table([("id", "speaker", "length", "text"), *rows], right={0})
    language = find_bundle(None).language
    bundled = len(guard_set(language))
    options.tell(f"{len(own)} of your own, {bundled} bundled" + ("" if bundled else f": there are none for {language}"))


@app.command("remove")
def remove(
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="As 'guard list' numbers them.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All that you added.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete recordings that you added, their audio included. The bundled ones stay."""
    from device_app.adaptation.guard_set.own import chosen_recordings
    from device_app.data.store import Store
    from editing.errors import BadInputError

    if bool(ids) == all_:
        raise BadInputError("name either recordings or --all to remove")
    with Store() as store:
        chosen = chosen_recordings(store, ids or None)
        if not yes and not ask(f"Delete {counted(len(chosen), 'recording')}?"):
            raise typer.Exit(1)
        store.delete(chosen)
    echo(f"{len(chosen)} deleted")
    if chosen:
        _tell_of_other_rates()


def _tell_of_other_rates() -> None:
    """Says that stored error rates are of another guard set than those that will be measured; after a change of it."""
    with suppress(StorageError):  # a damaged ledger is reported by the commands that need it
        if not open_ledger(None).current.applied:
            return
        options.tell(
            "'asr-edge status' and 'report' have error rates of general speech that were measured on other recordings "
            "than the next ones will be. 'asr-edge report --html FILE' measures all of them again."
        )
