"""asr-edge report: WER of every domain after each edit, and transfer metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from device_app.cli import options
from device_app.cli.judging import open_ledger
from device_app.cli.printing import echo, print_json
from device_app.cli.terminal.reporter import terminal_context
from device_app.cli.terminal.table import print_table


def report(
    picture: Annotated[Path | None, typer.Option(help="Also draw a picture: .png, .svg or .pdf.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a report for people to read: one .html file.")] = None,
    overwrite: options.Overwrite = False,
    model: options.Model = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Show the WER of every domain after each edit, and forgetting and transfer."""
    from device_app.adaptation.report.history import measure_versions, transfer_metrics
    from device_app.adaptation.report.measure import measure_history
    from device_app.adaptation.report.page import check_html, render
    from device_app.audio.sources import check_file_output
    from device_app.data.store import Store
    from device_app.evaluation.plots import check_picture
    from editing.files import check_writable

    if picture is not None:
        check_picture(picture)
    if html is not None:
        check_html(html)
    for output in filter(None, (picture, html)):  # before the measurement, which may take long
        check_file_output(output, overwrite=overwrite)
        check_writable(output, makes_folder=False)
    ledger = open_ledger(model)
    options.tell(
        "Transcribing the test recordings with each version not measured yet; measured ones keep their figures ..."
    )
    with Store() as store, ledger.changing():
        history = None if html is None else measure_history(store, ledger, terminal_context(threads))
        domains, versions = measure_versions(store, ledger, terminal_context(threads))
    figures = transfer_metrics(ledger, domains, versions)
    if as_json:
        rows = [{"version": v.id, "why": v.why, "wer": {d: v.wer[d] for d in domains}} for v in versions]
        print_json({"domains": domains, "versions": rows, **figures})
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
            echo(f"{names[name]}: {shown}")
    if picture is not None and not domains:
        options.tell("There is nothing to draw: there are no test recordings.")
    elif picture is not None:
        from device_app.evaluation.plots import draw_matrix

        draw_matrix(domains, [f"{v.id} {v.why}" for v in versions], [v.wer for v in versions], picture)
        options.tell(f"Picture: {picture}")
    if html is not None and history is not None:
        from editing.files import write_atomically

        write_atomically(html, render(history, ledger).encode())
        options.tell(f"Report: {html}")
