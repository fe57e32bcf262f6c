"""asr-edge doctor: is the store whole?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from device_app.cli import options

REMEDIES = {
    "half_deleted": "deletions that were not finished: now finished",
    "half_written": "half-written files: removed",
    "missing": "utterances whose audio is gone: removed",
    "damaged": "utterances whose audio is damaged: removed",
    "changed": "recordings that were changed by hand: measured again",
    "orphans": "audio without an utterance: now unlabelled in the domain 'recovered', if it can be read",
}


def doctor(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell; change nothing.")] = False,
    as_json: options.Json = False,
) -> None:
    """Find what a crash left in the store, and mend it."""
    from device_app.doctor import examine
    from device_app.store import Store

    with Store() as store:
        findings = examine(store, mend=not dry_run)
    if as_json:
        typer.echo(json.dumps(asdict(findings), indent=2))
    elif not findings:
        typer.echo("The store is whole.")
    else:
        for kind, lines in asdict(findings).items():
            if lines:
                typer.echo(
                    f"{len(lines)} {REMEDIES[kind]}" if not dry_run else f"{len(lines)} {kind.replace('_', ' ')}"
                )
                for line in lines:
                    typer.echo(f"  {line}")
    if findings and dry_run:
        raise typer.Exit(1)
