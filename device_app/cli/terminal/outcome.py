"""What long work on the model shows while it goes on, and what it says when a version was judged."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from device_app.cli import options
from device_app.cli.terminal.progress import progress
from device_app.cli.terminal.table import print_table

if TYPE_CHECKING:
    from device_app.adaptation.adapt import Outcome
    from device_app.adaptation.sweep import Candidate

KEPT_OUT = 3  # the exit code where the gate keeps a version out


class Terminal:
    """A `device_app.reporter.Screen` on standard error."""

    def say(self, message: str) -> None:
        options.tell(message)

    @contextmanager
    def progress(self, label: str, total: float) -> Iterator[Callable[[float], None]]:
        with progress(label, total) as advance:
            yield advance


@contextmanager
def tuning_progress() -> Iterator[Callable[[int, int, int, float], None]]:
    """Gives a function that takes step, steps, epoch and loss, and shows them with the time left."""
    if not sys.stderr.isatty():
        yield lambda _step, _steps, _epoch, _loss: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[loss]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("learning", total=None, loss="")

        def show(step: int, steps: int, epoch: int, loss: float) -> None:
            bar.update(task, total=steps, completed=step, description=f"epoch {epoch}", loss=f"loss {loss:.3f}")

        yield show


def finish(outcome: Outcome, as_json: bool) -> None:
    """Prints what the gate said, and ends with exit code 3 where it kept the version out.

    Raises:
        typer.Exit: the version was kept out.
    """
    if as_json:
        typer.echo(json.dumps(record(outcome), ensure_ascii=False, indent=2))
    else:
        _print(outcome)
    if not outcome.promoted and not outcome.verdict.passes:
        raise typer.Exit(KEPT_OUT)


def record(outcome: Outcome) -> dict[str, Any]:
    """An outcome as `--json` shows it; WER are fractions."""
    verdict = outcome.verdict
    return {
        "promoted": outcome.promoted,
        "passes": verdict.passes,
        "reasons": list(verdict.reasons),
        "version": outcome.version.id,
        "edit": None if outcome.edit is None else asdict(outcome.edit),
        "domains": {domain: _change(change) for domain, change in verdict.changes.items()},
        "typography": None
        if verdict.typography is None
        else {"before": asdict(verdict.typography[0]), "after": asdict(verdict.typography[1])},
        "candidates": [
            {"lambda": c.lam, "density": c.density, "domains": {d: _change(one) for d, one in c.changes.items()}}
            for c in outcome.candidates
        ],
        "losses": list(outcome.losses),
        "tuning_s": round(outcome.tuning_s, 2),
        "norm": outcome.norm,
    }


def _change(change: Any) -> dict[str, float]:
    return {**asdict(change), "difference": change.difference}


def _print(outcome: Outcome) -> None:
    rows: list[Sequence[object]] = [("", "WER before", "after", "points", "95 % between", "utterances")]
    for domain, change in outcome.verdict.changes.items():
        between = f"{100 * change.low:+.1f} and {100 * change.high:+.1f}"
        figures = (f"{change.before:.1%}", f"{change.after:.1%}", f"{100 * change.difference:+.1f}", between)
        rows.append((domain, *figures, change.utterances))
    print_table(rows, right=range(1, 6))
    if outcome.verdict.typography is not None:
        before, after = outcome.verdict.typography
        if str(before) != str(after):
            typer.echo(f"General speech is written with {after}; before: {before}.")
    for reason in outcome.verdict.reasons:
        options.tell(f"! {reason}")
    _print_decision(outcome)


def _print_decision(outcome: Outcome) -> None:
    edit = outcome.edit
    if outcome.promoted:
        undo = f"'asr-edge revert {edit.id}' takes it back" if edit else "'asr-edge rollback' goes back"
        typer.echo(f"Version {outcome.version.id} is in service; {undo}.")
    elif outcome.verdict.passes:
        typer.echo("It would go into service; nothing was changed (--dry-run).")
    elif edit is not None and edit.reasons:
        options.tell(
            f"The model in service stays. Edit {edit.id} is kept: 'asr-edge remix {edit.id} --lambda 0.3' weighs it "
            "otherwise, --force promotes in spite of this."
        )
    else:
        options.tell("The model in service stays; --force promotes in spite of this.")


def print_candidates(candidates: Sequence[Candidate], chosen: Mapping[str, Any]) -> None:
    """The frontier of a sweep as a table: WER by lambda and density, of every domain."""
    domains = list(candidates[0].changes)
    rows: list[Sequence[object]] = [("lambda", "density", *domains, "")]
    rows.append(("0", "", *(f"{candidates[0].changes[domain].before:.1%}" for domain in domains), ""))
    for one in candidates:
        is_chosen = (one.lam, one.density) == (chosen["lam"], chosen.get("density", one.density))
        figures = (f"{one.changes[domain].after:.1%}" for domain in domains)
        rows.append((one.lam, one.density, *figures, "<- chosen" if is_chosen else ""))
    print_table(rows, right=range(len(domains) + 2))
    typer.echo("")
