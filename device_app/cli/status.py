"""asr-edge status: recordings, WER before and now, and what to do next."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from device_app.cli import options
from device_app.cli.judging import open_ledger
from device_app.cli.printing import echo, print_json
from device_app.cli.terminal.table import print_table

if TYPE_CHECKING:
    from device_app.status import Status

STEPS = 3  # shown; more would not help to choose


def status(model: options.Model = None, as_json: options.Json = False) -> None:
    """Show your recordings, how adapting has changed the errors, and what to do next."""
    from device_app.data.store import Store
    from device_app.status import status

    with Store() as store:
        found = status(store, open_ledger(model))
    if as_json:
        print_json(asdict(found))
    else:
        _print(found)


def _print(found: Status) -> None:
    if not found.domains:
        echo("There are no recordings yet; the model is as it was installed.")
    else:
        rows = [("recordings of", "number", "with text", "minutes", "words wrong before", "now")]
        rows += [
            (
                one.domain,
                str(one.recordings),
                str(one.labelled),
                f"{one.seconds / 60:.1f}",
                _percent(one.wer_before),
                _percent(one.wer_now),
            )
            for one in found.domains
        ]
        if found.edits:
            rows.append(("(general speech)", "", "", "", _percent(found.general_before), _percent(found.general_now)))
        print_table(rows, right=range(1, 6))
        if not found.edits:
            if any(one.last_edit for one in found.domains):
                echo("The model is as it was installed: no edit is in use. 'asr-edge log' shows the edits.")
            else:
                echo("The model is as it was installed: it has not been adapted yet.")
    if found.missing_audio is not None:
        echo(f"The recordings cannot be found: {found.missing_audio} is missing or empty. Is its disk mounted?")
    for domain in found.interrupted:
        echo(f"An adaptation to {domain} was interrupted. With the same recordings and options, 'adapt' continues it.")
    echo()
    echo("What to do next:")
    width = max(len(step.command) for step in found.next[:STEPS])
    for step in found.next[:STEPS]:
        echo(f"  {step.command.ljust(width)}   {step.reason}", hanging=width + 5)
    echo("'asr-edge --help' lists all commands.")


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.1%}"
