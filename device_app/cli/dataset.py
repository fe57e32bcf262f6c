"""asr-edge dataset: lists, changes, deletes and exports recordings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from device_app.cli import options
from device_app.cli.completion import complete_domain
from device_app.cli.printing import ask, echo, print_json
from device_app.cli.terminal.progress import progress
from device_app.cli.terminal.table import print_table
from device_app.data.formats import DatasetFormat
from editing.errors import counted

app = typer.Typer(help="Show and manage recordings by domain.", no_args_is_help=True)


Domain = Annotated[str, typer.Argument(help="A domain's name.", autocompletion=complete_domain)]
OptionalDomain = Annotated[str | None, typer.Argument(help="Only this domain.", autocompletion=complete_domain)]
Ids = Annotated[list[int], typer.Argument(metavar="ID...", help="Utterances, as 'dataset show' numbers them.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list")
def list_domains(as_json: options.Json = False) -> None:
    """Show the domains and the size of each."""
    stats(None, as_json)


@app.command()
def stats(domain: OptionalDomain = None, as_json: options.Json = False) -> None:
    """Count utterances, speakers and minutes."""
    from device_app.data.store import Store

    with Store() as store:
        found = store.stats(domain)
    if as_json:
        print_json([asdict(one) for one in found])
    elif not found:
        options.tell("No recordings yet; 'asr-edge import' and 'asr-edge record' add some.")
    else:
        head = ("domain", "utterances", "unlabelled", "held out", "speakers", "minutes")
        rows = [
            (one.domain, one.utterances, one.unlabelled, one.test, one.speakers, f"{one.seconds / 60:.1f}")
            for one in found
        ]
        print_table([head, *rows], right=range(1, 5))


@app.command()
def show(
    domain: Domain,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 50,
    after: Annotated[int, typer.Option(min=0, metavar="ID", help="Only utterances with a higher number.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Show the utterances of a domain."""
    from device_app.data.store import Store

    with Store() as store:
        found = list(store.utterances(domain, limit=limit, after=after))
    if as_json:
        print_json([one.record() for one in found])
        return
    rows = [
        (
            u.number,
            u.split,
            u.speaker or "",
            f"{u.duration_s:.1f} s",
            u.text or f"(not labelled) {u.hypothesis or ''}".rstrip(),
        )
        for u in found
    ]
    print_table([("id", "part", "speaker", "length", "text"), *rows], right={0})
    if len(found) == limit:
        options.tell(f"There may be more: --after {found[-1].number}")


@app.command()
def rename(domain: Domain, name: Annotated[str, typer.Argument(help="Its new name.")]) -> None:
    """Give a domain another name."""
    from device_app.data.store import Store

    with Store() as store:
        store.rename(domain, name)


@app.command()
def move(ids: Ids, to: Annotated[str, typer.Option(metavar="DOMAIN", help="Created if it does not exist.")]) -> None:
    """Move utterances into another domain. Held-out utterances stay held out."""
    from device_app.data.store import Store

    with Store() as store:
        store.move(ids, to)


@app.command()
def delete(
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Utterances.")] = None,
    domain: Annotated[str | None, typer.Option(help="All of a domain.", autocompletion=complete_domain)] = None,
    yes: Yes = False,
) -> None:
    """Delete utterances, their audio included."""
    from device_app.data.store import Store
    from editing.errors import BadInputError

    if bool(ids) == (domain is not None):
        raise BadInputError("name either utterances or a --domain to delete")
    with Store() as store:
        chosen = list(dict.fromkeys(ids or [u.number for u in store.utterances(domain)]))
        _confirm(f"Delete {counted(len(chosen), 'utterance')} and the audio?", yes)
        store.delete(chosen)
    echo(f"{len(chosen)} deleted")


@app.command()
def forget(speaker: Annotated[str, typer.Option(help="A speaker's name.")], yes: Yes = False) -> None:
    """Delete all utterances of a speaker, in all domains."""
    from device_app.data.store import Store

    with Store() as store:
        _confirm(f"Delete all utterances of {speaker} ({store.count_of(speaker)}) and their audio?", yes)
        deleted = store.forget(speaker)
    echo(f"{deleted} deleted")


@app.command()
def export(
    domain: Annotated[str, typer.Option(help="Which domain.", autocompletion=complete_domain)],
    out: Annotated[Path, typer.Option(help="The folder to create; it must be new or empty.")],
    form: Annotated[DatasetFormat, typer.Option("--format", help="The format of the manifest.")] = DatasetFormat.NEMO,
) -> None:
    """Export a domain's labelled utterances for other tools."""
    from device_app.data.dataset_export import export_domain
    from device_app.data.store import Store
    from device_app.outputs import check_outside_data

    check_outside_data(out)
    with Store() as store:
        (counts,) = store.stats(domain)
        with progress("exporting", counts.utterances) as advance:
            count = export_domain(store, domain, form, out, on_done=advance)
    echo(f"{counted(count, 'utterance')} in {out}")


def _confirm(question: str, yes: bool) -> None:
    """Asks unless --yes is given; ends the command with exit code 1 if the answer is no."""
    if not yes and not ask(question):
        raise typer.Exit(1)
