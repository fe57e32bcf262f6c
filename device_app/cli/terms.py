"""asr-edge terms: the words and phrases that recognition is to expect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from device_app.cli import options
from device_app.cli.printing import echo, print_json, print_text
from device_app.cli.terminal.table import print_table

app = typer.Typer(help="Words and phrases that recognition is to expect.", no_args_is_help=True)


@app.command("add")
def add(
    texts: Annotated[list[str], typer.Argument(metavar="TERM...", help="Words; a phrase in quotes.")],
    weight: Annotated[
        float, typer.Option(help="How strongly to expect them, as a multiple of the default; at most 10.")
    ] = 1.0,
) -> None:
    """Add terms to the list, or change their weight."""
    from device_app.data.terms import changed_terms, checked_term

    new = [checked_term(text, weight) for text in texts]
    with changed_terms() as box:
        before = len(box[0].terms)
        box[0] = box[0].with_terms(new)
        after = len(box[0].terms)
    echo(f"{after - before} added; the list has {_count(after)}")


@app.command("remove")
def remove(
    texts: Annotated[list[str], typer.Argument(metavar="TERM...", help="Terms of the list, in any case.")],
) -> None:
    """Remove terms from the list."""
    from device_app.data.terms import changed_terms

    with changed_terms() as box:
        box[0] = box[0].without(texts)
        after = len(box[0].terms)
    echo(f"{len(texts)} removed; the list has {_count(after)}")


@app.command("list")
def list_(as_json: options.Json = False) -> None:
    """Show the terms."""
    from dataclasses import asdict

    from device_app.data.terms import stored_terms

    terms = stored_terms().terms
    if as_json:
        print_json([asdict(term) for term in terms])
    elif not terms:
        options.tell("The list has no terms; 'asr-edge terms add' adds some.")
    else:
        rows = [("term", "weight", "origin", "since")]
        rows += [(term.text, f"{term.weight:g}", term.origin, term.added) for term in terms]
        print_table(rows, right=[1])


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A text file, one term a line; after a tab, its weight.")],
) -> None:
    """Add the terms of a file to the list."""
    from device_app.data.terms import changed_terms, read_terms

    new = read_terms(file)
    with changed_terms() as box:
        before = len(box[0].terms)
        box[0] = box[0].with_terms(new, origin="imported")
        after = len(box[0].terms)
    echo(f"{after - before} added; the list has {_count(after)}")


@app.command("export")
def export(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A file.", show_default="standard output")
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write the list as a text file that 'terms import' and --terms read."""
    from device_app.data.terms import stored_terms, written_terms
    from device_app.outputs import check_output
    from editing.files import write_atomically

    text = written_terms(stored_terms().terms)
    if output is None or str(output) == "-":
        print_text(text)
    else:
        check_output(output, overwrite=overwrite)
        write_atomically(output, text.encode())


@app.command("corrections")
def corrections(
    state: Annotated[Literal["on", "off"], typer.Argument(help="Whether a corrected word becomes a term.")],
) -> None:
    """Choose whether words that you correct are added to the list."""
    from dataclasses import replace

    from device_app.data.terms import changed_terms

    with changed_terms() as box:
        box[0] = replace(box[0], from_corrections=state == "on")
    echo(f"Corrected words {'are' if state == 'on' else 'are not'} added to the list")


def _count(terms: int) -> str:
    return f"{terms} term" if terms == 1 else f"{terms} terms"
