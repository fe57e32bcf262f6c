"""asr-edge log and show: the edits of the model and their effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from device_app.cli import options
from device_app.cli.judging import open_ledger
from device_app.cli.printing import echo, print_json
from device_app.cli.terminal.outcome import edits_in_words, smaller_lambda
from device_app.cli.terminal.table import print_table
from editing.errors import counted

if TYPE_CHECKING:
    from device_app.models.ledger import Edit, Ledger
    from editing.task_vector import TaskVector

Id = Annotated[int, typer.Argument(metavar="N", help="An edit, as 'asr-edge log' numbers them.")]


def log(model: options.Model = None, as_json: options.Json = False) -> None:
    """Show all edits of the model and their states."""
    ledger = open_ledger(model)
    if as_json:
        print_json(_record(ledger))
        return
    if not ledger.edits:
        echo("The base model, without edits. 'asr-edge adapt' makes one.")
        return
    head = ("edit", "state", "domain", "utterances", "WER before", "after", "lambda", "created")
    print_table([head, *(_row(ledger, edit) for edit in ledger.edits)], right={0, 3, 4, 5, 6})
    echo(f"Active: {edits_in_words(ledger.current)}.")


def _row(ledger: Ledger, edit: Edit) -> Sequence[object]:
    """The row of an edit in the table of `log`."""
    effect = ledger.effect(edit)
    return (
        edit.id,
        ledger.state(edit),
        edit.domain,
        edit.utterances or edit.kind,
        *(", ".join(f"{wer[d]:.1%}" for d in edit.domains if d in wer) for wer in (effect.before, effect.after)),
        options.lambda_text(effect.settings["lam"]),
        edit.created[:10],
    )


def show(
    edit: Id,
    details: Annotated[bool, typer.Option("--details", help="Also the size of its task vector by layer.")] = False,
    model: options.Model = None,
    as_json: options.Json = False,
) -> None:
    """Show one edit: what it was trained on, and its effect on WER."""
    ledger = open_ledger(model)
    found = ledger.edit(edit)
    vectors, problems = _vectors(ledger, found)
    record = {
        **found.record(),
        "state": ledger.state(found),
        "effect": asdict(ledger.effect(found)),
        "bytes": _size(ledger, found),
        "task_vectors": [
            {**asdict(v.origin), "norm": v.norm, "nonzero": v.density, "layers": v.layers()} for v in vectors
        ],
        "problems": problems,
    }
    if as_json:
        print_json(record)
        return
    echo(f"Edit {found.id} ({record['state']}): {found.kind} {found.domain}, {found.created}")
    amount = f"{counted(found.utterances, 'utterance')}, {found.seconds / 60:.1f} min"
    echo(f"  {_merge_text(ledger, found)}; trained on {amount}")
    for reason in found.reasons:
        echo(f"  {'kept out' if record['state'] == 'kept out' else 'kept out at first'}: {reason}")
    effect = ledger.effect(found)
    for domain, after in effect.after.items():
        echo(f"  WER of {domain}: {effect.before[domain]:.1%} -> {after:.1%}")
    for step in _what_to_do(ledger, found):
        echo(f"  {step}")
    for problem in problems:
        echo(f"  ! {problem}")
    if details:
        for vector in vectors:
            _print_layers(vector)


def _vectors(ledger: Ledger, edit: Edit) -> tuple[list[TaskVector], list[str]]:
    """The task vectors of an edit, and what is wrong with those that cannot be read."""
    from editing.errors import StorageError

    vectors, problems = [], []
    for name in edit.vectors:
        try:
            vectors.append(ledger.vector(name))
        except StorageError as error:
            problems.append(str(error))
    return vectors, problems


def _print_layers(vector: TaskVector) -> None:
    """Prints the norm of each layer as a number and a bar."""
    echo(f"  task vector: norm {vector.norm:.3f}, {vector.density:.0%} nonzero entries; norms by layer:")
    layers = vector.layers()
    largest = max(layers.values(), default=1.0) or 1.0
    for layer, norm in layers.items():
        echo(f"    {layer:32} {norm:8.4f}  {'▇' * round(30 * norm / largest)}")


def _what_to_do(ledger: Ledger, edit: Edit) -> list[str]:
    """What the state of an edit means, and the commands that change it."""
    if ledger.is_applied(edit.id):
        return [
            f"It is part of the model. 'asr-edge revert {edit.id}' removes it;",
            f"'asr-edge reweight {edit.id} --lambda {smaller_lambda(ledger.effect(edit).settings)}' makes it smaller.",
        ]
    if (other := ledger.current.merged(edit)) is not None:
        return [f"It is a part of edit {other.edit}. Revert that edit before you apply this one alone."]
    return [f"It is not part of the model. 'asr-edge reweight {edit.id}' adds it, if it passes the checks."]


def _merge_text(ledger: Ledger, edit: Edit) -> str:
    """The merge method and its settings in words."""
    settings = ledger.effect(edit).settings
    density = [f"density {settings['density']:g}"] if "density" in settings else []
    return " ".join([edit.method, f"lambda {options.lambda_text(settings['lam'])}", *density])


def _size(ledger: Ledger, edit: Edit) -> int:
    """Bytes of the files of its task vectors, without those that are missing."""
    return sum(path.stat().st_size for name in edit.vectors if (path := ledger.vector_path(name)).is_file())


def _record(ledger: Ledger) -> dict[str, Any]:
    """The JSON document of `log`."""
    return {
        "base": ledger.base.weights_hash,
        "current": ledger.current.id,
        "edits": [
            {
                **edit.record(),
                "state": ledger.state(edit),
                "effect": asdict(ledger.effect(edit)),  # with the settings that it was applied with last
                "bytes": _size(ledger, edit),
            }
            for edit in ledger.edits
        ],
        "versions": [asdict(version) for version in ledger.versions],
    }
