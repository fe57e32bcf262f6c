"""asr-edge terms: the words and phrases that recognition is to expect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from device_app.cli import options
from device_app.cli.printing import echo, print_json, print_text
from device_app.cli.terminal.table import print_table
from editing.errors import counted

if TYPE_CHECKING:
    from device_app.data.terms import TermList

NEEDED = {True: "yes", False: "no", None: "?"}  # how `Usage.is_needed` is shown; None: too few matches to say

app = typer.Typer(help="Words and phrases that recognition is to expect.", no_args_is_help=True)


@app.command("add")
def add(
    texts: Annotated[list[str], typer.Argument(metavar="TERM...", help="Words; a phrase in quotes.")],
    weight: Annotated[
        float, typer.Option(help="How strongly to expect them, as a multiple of the default; at most 10.")
    ] = 1.0,
) -> None:
    """Add terms to the list, or change their weight."""
    from device_app.data.terms import Term, change_terms

    new = [Term(text, weight) for text in texts]
    before, now = change_terms(lambda listed: listed.with_terms(new))
    echo(f"{_changes(before, now)}; the list has {counted(len(now.terms), 'term')}")


def _changes(before: TermList, now: TermList) -> str:
    """How many terms and replacements were added, and how many got another spelling, weight or text, in words."""
    added = len(now.terms) - len(before.terms) + len(now.replacements) - len(before.replacements)
    added_or_changed = len({*now.terms} - {*before.terms}) + len({*now.replacements} - {*before.replacements})
    changed = added_or_changed - added
    return f"{added} added" + (f", {changed} changed" if changed > 0 else "")


@app.command("remove")
def remove(
    texts: Annotated[list[str], typer.Argument(metavar="TERM...", help="Terms of the list, in any case.")],
) -> None:
    """Remove terms from the list."""
    from device_app.data.terms import change_terms

    before, now = change_terms(lambda listed: listed.without(texts))
    echo(f"{len(before.terms) - len(now.terms)} removed; the list has {counted(len(now.terms), 'term')}")


@app.command("list")
def list_(as_json: options.Json = False) -> None:
    """Show the terms: where each comes from, how often it matched, and whether the model still needs it.

    'helped' counts matches that the text would lack without the list.

    After three matches in a row without help, a term is not needed; '?': it has matched too seldom to say.
    """
    from dataclasses import asdict

    from device_app.data.terms import stored_terms
    from device_app.data.terms.usage import Usage, stored_usage

    terms = stored_terms().terms
    usage = stored_usage()
    found = [(term, usage.get(term.key, Usage())) for term in terms]
    if as_json:
        print_json([{**asdict(term), **asdict(used), "needed": used.is_needed} for term, used in found])
    elif not terms:
        options.tell("The list has no terms; 'asr-edge terms add' adds some.")
    else:
        rows = [("term", "weight", "origin", "since", "matched", "helped", "needed")]
        rows += [
            (
                *(term.text, f"{term.weight:g}", term.origin, term.added),
                *(f"{used.matched}", f"{used.helped}", NEEDED[used.is_needed]),
            )
            for term, used in found
        ]
        print_table(rows, right=[1, 4, 5])
        if any(used.is_needed is None for _, used in found):
            options.tell("?: too few matches to say whether the model needs the term")


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="A text file, one term a line; after a tab, its weight, or -> and a replacement.")
    ],
) -> None:
    """Add the terms and replacements of a file to the list."""
    from device_app.data.terms import change_terms, read_terms

    new, replacements = read_terms(file)
    before, now = change_terms(lambda listed: listed.with_terms(new, "imported").with_replacements(replacements))
    more = f" and {counted(len(now.replacements), 'replacement')}" if now.replacements else ""
    echo(f"{_changes(before, now)}; the list has {counted(len(now.terms), 'term')}{more}")


@app.command("export")
def export(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A file.", show_default="standard output")
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write the list as a text file that 'terms import' and --terms read."""
    from device_app.audio.sources import check_file_output
    from device_app.data.terms import stored_terms, written_terms
    from editing.files import check_writable, write_atomically

    listed = stored_terms()
    text = written_terms(listed.terms, listed.replacements)
    if output is None or str(output) == "-":
        print_text(text)
    else:
        check_file_output(output, overwrite=overwrite)
        check_writable(output, makes_folder=False)
        write_atomically(output, text.encode())


@app.command("corrections")
def corrections(
    state: Annotated[Literal["on", "off"], typer.Argument(help="Whether a corrected word becomes a term.")],
) -> None:
    """Choose whether words that you correct are added to the list."""
    from dataclasses import replace

    from device_app.data.terms import change_terms

    change_terms(lambda listed: replace(listed, from_corrections=state == "on"))
    echo(f"From now on, words that you correct {'are' if state == 'on' else 'are not'} added to the list")


replace_app = typer.Typer(
    help="What to write instead of some words, such as 061 for 'zero six one'.", no_args_is_help=True
)
app.add_typer(replace_app, name="replace")


@replace_app.command("add")
def replace_add(
    words: Annotated[str, typer.Argument(help="Words of the recognised text, in any case.")],
    text: Annotated[str, typer.Argument(help="What to write instead; '' drops the words.")],
    position: Annotated[
        int | None, typer.Option(min=1, help="Its position in the order of replacements.", show_default="the last")
    ] = None,
) -> None:
    """Replace words in texts from now on; texts that you label are never changed."""
    from device_app.data.terms import Replacement, change_terms

    new = Replacement(words, text)
    _, now = change_terms(lambda listed: listed.with_replacements([new], position))
    echo(f"The list has {counted(len(now.replacements), 'replacement')}")


@replace_app.command("remove")
def replace_remove(
    words: Annotated[list[str], typer.Argument(metavar="WORDS...", help="The words that are replaced, in any case.")],
) -> None:
    """Remove replacements."""
    from device_app.data.terms import change_terms

    _, now = change_terms(lambda listed: listed.without_replacements(words))
    echo(f"The list has {counted(len(now.replacements), 'replacement')}")


@replace_app.command("list")
def replace_list(as_json: options.Json = False) -> None:
    """Show the replacements in the order in which they are applied."""
    from device_app.data.terms import stored_terms

    found = stored_terms().replacements
    if as_json:
        print_json([{"words": one.pattern, "text": one.text} for one in found])
    elif not found:
        options.tell("The list has no replacements; 'asr-edge terms replace add' adds some.")
    else:
        rows = [("", "words", "written")]
        rows += [(f"{position}", one.pattern, one.text or "(dropped)") for position, one in enumerate(found, 1)]
        print_table(rows, right=[0])
