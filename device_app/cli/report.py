"""asr-edge report: what each edit did to every domain."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from device_app.cli import options
from device_app.cli.terminal import outcome as screen
from device_app.cli.terminal.table import print_table

if TYPE_CHECKING:
    from device_app.models.ledger import Ledger, Version


def report(
    picture: Annotated[Path | None, typer.Option(help="Also draw it: .png, .svg or .pdf.")] = None,
    model: options.Model = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Show the WER of every domain after each edit, and what was lost and gained."""
    from device_app.adaptation.adapt import measure_versions
    from device_app.data.store import Store
    from device_app.evaluation.plots import check_picture
    from device_app.models.bundles import find_bundle
    from device_app.models.ledger import Ledger
    from editing.files import check_writable

    if picture is not None:  # before the measuring, which may take long
        check_picture(picture)
        check_writable(picture)
    ledger = Ledger(find_bundle(model))
    with Store() as store, ledger.changing():
        domains, versions = measure_versions(store, ledger, threads, screen.Terminal())
    figures = _figures(ledger, domains[:-1], versions)
    if as_json:
        rows = [{"version": v.id, "why": v.why, "wer": {d: v.wer[d] for d in domains}} for v in versions]
        typer.echo(json.dumps({"domains": domains, "versions": rows, **figures}, ensure_ascii=False, indent=2))
    else:
        table: list[Sequence[object]] = [("version", "made by", *domains)]
        table += [(v.id, v.why, *(f"{v.wer[domain]:.1%}" for domain in domains)) for v in versions]
        print_table(table, right={0, *range(2, len(domains) + 2)})
        names = {
            "average_wer": "average WER now",
            "backward_transfer": "backward transfer (negative is forgetting)",
            "forward_transfer": "forward transfer",
        }
        for name, value in figures.items():
            shown = f"{value:.1%}" if name == "average_wer" else f"{100 * value:+.1f} points"
            typer.echo(f"{names[name]}: {shown}")
    if picture is not None:
        from device_app.evaluation.plots import draw_matrix

        draw_matrix(domains, [f"{v.id} {v.why}" for v in versions], [v.wer for v in versions], picture)
        options.tell(f"Drawn: {picture}")


def _figures(ledger: Ledger, domains: Sequence[str], versions: Sequence[Version]) -> dict[str, float]:
    """Average WER, and transfer over the domains in service, in the order in which they were learnt.

    Row i of the matrix is the first version that had learnt the first i + 1 of them; the last row
    is the version in service.
    """
    import numpy as np

    from device_app.evaluation.transfer import average_wer, backward_transfer, forward_transfer

    order = [domain for domain in ledger.learnt(versions[-1]) if domain in domains]
    if not order:
        return {}
    firsts = [next(v for v in versions if {*order[: i + 1]} <= {*ledger.learnt(v)}) for i in range(len(order) - 1)]
    matrix = np.array([[version.wer[domain] for domain in order] for version in (*firsts, versions[-1])])
    figures = {"average_wer": average_wer(matrix)}
    if len(order) > 1:
        base = np.array([versions[0].wer[domain] for domain in order])
        figures["backward_transfer"] = backward_transfer(matrix)
        figures["forward_transfer"] = forward_transfer(matrix, base)
    return figures
