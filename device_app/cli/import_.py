"""asr-edge import: a corpus from elsewhere becomes a domain."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from device_app.cli import options
from device_app.cli.printing import echo, print_json
from device_app.cli.terminal.progress import progress

if TYPE_CHECKING:
    from device_app.data.importing import ImportReport

SHOWN = 5  # of the recordings that were left out for one reason


def import_(
    path: Annotated[Path, typer.Argument(help="A manifest, or a folder with recordings and texts.")],
    domain: Annotated[
        str | None, typer.Option(help="The domain they belong to; Common Voice has accents of its own.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Take recordings and their texts into the store.

    Reads JSON-lines manifests, Common Voice, audiofolder, LibriSpeech, and recordings with .txt files beside them.
    """
    from device_app.data.corpora import find_utterances
    from device_app.data.importing import import_utterances, is_all_capitals
    from device_app.data.names import checked_name
    from device_app.data.store import Store
    from editing.errors import BadInputError

    kind, utterances = find_utterances(path)
    if domain is None and not all(one.domain for one in utterances):
        raise BadInputError(f"{path}: a {kind}; name the domain its recordings belong to with --domain")
    for name in {domain or one.domain for one in utterances}:
        checked_name(name, "domain")
    lower_case = is_all_capitals(utterances)
    options.tell(f"{path}: a {kind} with {len(utterances)} recordings")
    if lower_case:
        options.tell("Its texts are all in capitals, which say nothing: they are written in lower case.")
    with Store() as store, progress("importing", len(utterances)) as advance:
        report = import_utterances(store, utterances, domain, lower_case=lower_case, on_done=advance)
    if as_json:
        print_json({"kind": kind, "lower_cased": lower_case, **asdict(report)})
    else:
        _print(report)
    if report.unreadable or report.bad_texts or report.too_long:
        raise typer.Exit(1)


def _print(report: ImportReport) -> None:
    echo(f"{report.imported} imported ({report.seconds / 60:.1f} min), {report.unlabelled} of them without a text")
    for what, lines in (
        ("there already", report.duplicates),
        ("of them with another text", report.other_texts),
        ("cannot be read", report.unreadable),
        ("too long", report.too_long),
        ("with a text that cannot be used", report.bad_texts),
    ):
        if lines:
            options.tell(f"{len(lines)} {what}:")
            for line in lines[:SHOWN]:
                options.tell(f"  {line}")
            if len(lines) > SHOWN:
                options.tell(f"  and {len(lines) - SHOWN} more (--json lists all)")
