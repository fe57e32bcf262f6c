"""asr-edge import: stores a corpus as a domain."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from device_app.cli import options
from device_app.cli.printing import echo, print_json
from device_app.cli.terminal.progress import progress
from device_app.data.names import DEFAULT_DOMAIN
from editing.errors import counted

if TYPE_CHECKING:
    from device_app.data.importing import ImportReport

MAX_LINES = 5  # printed per reason for which recordings are skipped


def import_(
    path: Annotated[Path, typer.Argument(help="A manifest, or a folder with recordings and texts.")],
    domain: Annotated[
        str | None, typer.Option(help="The domain of the recordings.", show_default="Common Voice: the accent")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Import recordings and their texts.

    Reads JSON-lines manifests, Common Voice, audiofolder, LibriSpeech, and recordings with or without .txt files
    beside them.
    """
    from device_app.data.corpora import find_utterances
    from device_app.data.importing import import_utterances, is_all_capitals
    from device_app.data.names import checked_name
    from device_app.data.store import Store
    from editing.errors import BadInputError

    skipped: list[str] = []
    kind, utterances = find_utterances(path, skipped.append)
    if domain is None and not all(one.domain for one in utterances):
        raise BadInputError(
            f"{path}: a {kind}, which names no domain; name one with --domain, such as --domain {DEFAULT_DOMAIN}"
        )
    for name in {domain or one.domain for one in utterances}:
        checked_name(name, "domain")
    lower_case = is_all_capitals(utterances)
    options.tell(f"{path}: a {kind} with {counted(len(utterances), 'recording')}")
    if lower_case:
        options.tell("Nearly all its texts are in capitals, so all are stored in lower case.")
    with Store() as store, progress("importing", len(utterances)) as advance:
        report = import_utterances(store, utterances, domain, lower_case=lower_case, on_done=advance)
    report.bad_texts[:0] = skipped
    if as_json:
        print_json({"kind": kind, "lower_cased": lower_case, **asdict(report)})
    else:
        print_report(report)
    if report.unlabelled and not as_json:
        options.tell("'asr-edge label' labels recordings without a text.")
    if report.unreadable or report.bad_texts or report.too_long:
        raise typer.Exit(1)


def print_report(report: ImportReport) -> None:
    """Prints how many recordings were imported, and which were left out."""
    echo(f"{report.imported} imported ({report.seconds / 60:.1f} min), {report.unlabelled} of them without a text")
    for what, lines in (
        ("already stored", report.duplicates),
        ("of these, with a different text", report.other_texts),
        ("cannot be read", report.unreadable),
        ("too long", report.too_long),
        ("with an invalid text", report.bad_texts),
        ("not added, because a domain has the same recording: add others, or delete these there", report.in_domains),
        ("with several audio tracks, of which only the first is read", report.first_tracks),
        ("imported although damaged", report.repaired),
    ):
        if lines:
            options.tell(f"{len(lines)} {what}:")
            for line in lines[:MAX_LINES]:
                options.tell(f"  {line}")
            if len(lines) > MAX_LINES:
                options.tell(f"  and {len(lines) - MAX_LINES} more (--json lists all)")
