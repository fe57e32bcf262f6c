"""Prints the outcome of an adaptation or another change that the gate decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from device_app.cli import options
from device_app.cli.printing import echo, print_json
from device_app.cli.terminal.table import print_table

if TYPE_CHECKING:
    from device_app.adaptation.decision import Outcome
    from device_app.adaptation.sweep import Candidate
    from device_app.models.ledger import Ledger, Version

REJECTED = 3  # the exit code if the gate rejects a version


def report_adaptation(ledger: Ledger, outcome: Outcome | None, domain: str, as_json: bool) -> None:
    """Prints the outcome of an adaptation, as `report_outcome`; after a sweep, also prints and plots its candidates.

    The plot is written last: if the disk is full, the verdict has been printed.

    Args:
        ledger: the ledger; the plot is saved in its folder.
        outcome: None if the task vector of the job is an edit already.
        domain: the domain of the adaptation.
        as_json: print one JSON document.

    Raises:
        typer.Exit: the version was rejected.
    """
    if outcome is None:
        if as_json:
            print_json({"promoted": False, "merged_before": True})
        options.tell(f"the task vector of this job for {domain} is merged already; 'asr-edge log' shows the edit.")
        return
    if outcome.candidates and outcome.edit is not None and not as_json:
        _print_candidates(outcome.candidates, outcome.edit.settings)
    _print_outcome(outcome, as_json)
    if outcome.promoted:
        options.tell("Next: 'asr-edge transcribe --save', and 'asr-edge correct' where a text is wrong.")
    _save_sweep_plot(ledger, outcome, domain)
    _exit_if_rejected(outcome)


def report_outcome(outcome: Outcome, as_json: bool) -> None:
    """Prints the verdict of the gate, and exits with code 3 if the version was rejected.

    Raises:
        typer.Exit: the version was rejected, or would be without --dry-run.
    """
    _print_outcome(outcome, as_json)
    _exit_if_rejected(outcome)


def _print_outcome(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        print_json(outcome.record())
    else:
        _print(outcome)


def _exit_if_rejected(outcome: Outcome) -> None:
    if not outcome.is_accepted:
        raise typer.Exit(REJECTED)


def _save_sweep_plot(ledger: Ledger, outcome: Outcome, domain: str) -> None:
    """Saves the plot of a sweep, named by its edit; a dry run has no edit, and its number is that of a later one."""
    from device_app.adaptation.plots import draw_frontier
    from editing.errors import MissingDependencyError, StorageError

    if not outcome.candidates or outcome.edit is None or outcome.gate.dry_run:
        return
    path = ledger.folder / f"frontier-{outcome.edit.id}.png"
    try:
        draw_frontier(outcome.candidates, domain, path)
    except MissingDependencyError:
        return
    except StorageError as error:
        reason = getattr(error.__cause__, "strerror", None) or error  # its message says that nothing was changed
        options.tell(f"The plot of the sweep was not saved: {path}: {reason}.")
        return
    options.tell(f"Plot of the sweep: {path}")


def _print(outcome: Outcome) -> None:
    rows: list[Sequence[object]] = [("", "WER before", "after", "change (points)", "95 % interval", "utterances")]
    for domain, change in outcome.verdict.changes.items():
        interval = f"{100 * change.low:+.1f} to {100 * change.high:+.1f}"
        figures = (f"{change.before:.1%}", f"{change.after:.1%}", f"{100 * change.difference:+.1f}", interval)
        count = f"{change.utterances} of {change.set_size}" if change.is_partial else change.utterances
        rows.append((domain, *figures, count))
    print_table(rows, right=range(1, 6))
    if outcome.verdict.typography is not None:
        from device_app.evaluation.orthography import style_change

        before, after = outcome.verdict.typography
        if (difference := style_change(before, after)) is not None:
            echo(f"On general speech, the new version {difference}.")
    for reason in outcome.verdict.reasons:
        options.tell(f"! {reason}")
    _print_decision(outcome)
    if outcome.retired_terms:
        options.tell(
            f"The model now recognises these words without help; they were removed from your terms: "
            f"{', '.join(outcome.retired_terms)} ('asr-edge terms add' puts a word back)"
        )


def edits_in_words(version: Version) -> str:
    """The edits of a version, for example "edits 1 and 3"."""
    return in_words([applied.edit for applied in version.applied]) if version.applied else "the base model, no edits"


def in_words(edits: Sequence[int]) -> str:
    """One or more edits by their numbers, for example "edits 1 and 3"."""
    *others, last = map(str, edits)
    return f"edits {', '.join(others)} and {last}" if others else f"edit {last}"


def _print_decision(outcome: Outcome) -> None:
    edit = outcome.edit
    if outcome.promoted:
        # A revert would not bring back the edits that this one replaces.
        undo = f"revert {edit.id}" if edit is not None and not outcome.replaced else "rollback"
        active = edits_in_words(outcome.version)
        if outcome.replaced:
            active += f" in place of {in_words(outcome.replaced)}"
        echo(f"The new version is active, with {active}; 'asr-edge {undo}' undoes it.")
    elif outcome.verdict.passes:
        echo("The new version would become active; nothing was changed (--dry-run).")
    elif outcome.is_accepted:
        echo(
            "The new version would become active, although the gate rejects it (--force); nothing was changed "
            "(--dry-run)."
        )
    elif outcome.gate.dry_run:
        options.tell("The gate would reject the new version (--dry-run; nothing was saved).")
    elif edit is not None and edit.reasons:
        reweight, steps = f"'asr-edge reweight {edit.id}", []
        if edit.rejection in (None, "regression"):  # less of an edit gains less
            steps = [f"{reweight} --lambda {smaller_lambda(edit.settings)}' tries it with a smaller weight"]
        steps.append(f"{reweight} --force' promotes it regardless")
        options.tell(f"The new version was rejected. Edit {edit.id} is saved: {', '.join(steps)}.")
    else:
        options.tell("The new version was rejected; the same command with --force promotes it regardless.")


def smaller_lambda(settings: Mapping[str, Any]) -> str:
    """Half of an edit's lambda, as an option's value; 0.3 if it differs by layer."""
    lam = settings.get("lam")
    return f"{lam / 2:g}" if isinstance(lam, int | float) else "0.3"


def _print_candidates(candidates: Sequence[Candidate], chosen: Mapping[str, Any]) -> None:
    """Prints the candidates of a sweep as a table: WER of every domain by lambda and density."""
    domains = list(candidates[0].changes)
    rows: list[Sequence[object]] = [("lambda", "density", *domains, "")]
    rows.append(("0", "", *(f"{candidates[0].changes[domain].before:.1%}" for domain in domains), ""))
    for one in candidates:
        is_chosen = (one.lam, one.density) == (chosen["lam"], chosen.get("density", one.density))
        figures = (f"{one.changes[domain].after:.1%}" for domain in domains)
        rows.append((one.lam, one.density, *figures, "<- chosen" if is_chosen else ""))
    print_table(rows, right=range(len(domains) + 2))
    echo("")
