"""asr-edge adapt: learn a domain from its labelled recordings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from device_app.cli import options
from device_app.cli.terminal import outcome as screen

if TYPE_CHECKING:
    from device_app.adaptation.adapt import Outcome
    from device_app.adaptation.training_set import Learnt, Lesson, Tune
    from device_app.models.ledger import Ledger


def adapt(
    domain: Annotated[str, typer.Option(help="What to learn.", autocompletion=options.complete_domain)],
    lam: options.LambdaOrAuto = None,
    method: options.Method = "ties",
    density: options.Density = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes. [default: by how much there is]")] = None,
    scope: Annotated[
        Literal["hearing", "all", "encoder", "decoder", "attention"],
        typer.Option(help="Which weights may change; hearing: all but the decoder's knowledge of language."),
    ] = "all",
    vary: Annotated[bool, typer.Option("--vary", help="Vary speed, noise and timing while learning.")] = False,
    orthography: Annotated[
        Literal["keep", "learn"], typer.Option(help="Keep the model's own case and punctuation, or learn the labels'.")
    ] = "keep",
    replay: Annotated[int, typer.Option(min=0, metavar="N", help="Learn N older utterances again.")] = 0,
    tolerance: options.Tolerance = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same edit.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do all but put it into service.")] = False,
    force: options.Force = False,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Fine-tune on a host; needs no torch here.", autocompletion=options.complete_host
        ),
    ] = None,
    score_remotely: Annotated[
        bool, typer.Option("--score-remotely", help="Send the held-out utterances too: the host stops by them.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Agree that recordings go to the host.")] = False,
    model: options.Model = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Learn a domain from its labelled recordings; kept only if that is better.

    Exit code 3: the gate kept the old model.
    """
    from device_app.adaptation.adapt import adapt as run
    from device_app.adaptation.settings import Plan
    from device_app.data.store import Store
    from device_app.models.bundles import find_bundle
    from device_app.models.ledger import Ledger
    from device_app.paths import data_folder

    settings, sweep = options.merge_settings(lam, density)
    plan = Plan(domain, method, settings, sweep, tolerance / 100, orthography, replay, force, dry_run, seed)
    how = {"epochs": epochs, "scope": scope, "vary": vary, "seed": seed}
    if on is not None:
        from device_app.cli.jobs import adapt_on

        adapt_on(on, plan, how, model, threads, score_remotely=score_remotely, agreed=yes, as_json=as_json)
        return
    need_torch()
    with Store() as store:
        ledger = Ledger(find_bundle(model))
        with ledger.changing():
            checkpoint = data_folder() / "training"
            outcome = run(store, ledger, plan, _tuner(checkpoint, how), threads, screen.Terminal())
            for old in checkpoint.glob("*"):
                old.unlink()
    tell_outcome(ledger, outcome, domain, as_json)


def tell_outcome(ledger: Ledger, outcome: Outcome, domain: str, as_json: bool) -> None:
    """Prints what was learnt and decided, and draws the frontier if there is one."""
    if outcome.candidates and outcome.edit is not None:
        picture = ledger.folder / f"frontier-{outcome.edit.id}.png"
        if not as_json:
            screen.print_candidates(outcome.candidates, outcome.edit.settings)
        if _draw(outcome.candidates, domain, picture):
            options.tell(f"The same as a picture: {picture}")
    screen.finish(outcome, as_json)


def need_torch() -> None:
    import importlib.util

    from editing.errors import MissingDependencyError

    try:
        is_here = all(importlib.util.find_spec(name) is not None for name in ("torch", "transformers"))
    except ImportError:  # something forbids it, as our own tests do
        is_here = False
    if not is_here:
        raise MissingDependencyError(
            "learning needs torch, which is not installed here: pip install 'asr-edge[train]'. Without it, a host can "
            "learn (--on URL), and vectors from another machine can be used: asr-edge vector import FILE"
        )


def _tuner(folder: Path, how: dict[str, Any]) -> Tune:
    def tune(lesson: Lesson) -> Learnt:
        from trainer.training.finetuning import finetune_for_training_set
        from trainer.training.settings import FineTuningSettings

        settings = FineTuningSettings(**how)
        utterances = [(one.file.name, one.text) for one in (*lesson.training, *lesson.held_out)]
        identity = hashlib.sha256(json.dumps([lesson.bundle.recipe, utterances]).encode()).hexdigest()[:16]
        options.tell(f"Learning from {len(lesson.training)} utterances ...")
        with screen.tuning_progress() as show:
            return finetune_for_training_set(
                lesson,
                settings,
                checkpoint=folder / f"{identity}.safetensors",
                on_step=lambda at: show(at.step, at.steps, at.epoch, at.loss),
            )

    return tune


def _draw(candidates: Sequence[Any], domain: str, path: Path) -> bool:
    from device_app.adaptation.plots import draw_frontier
    from editing.errors import MissingDependencyError

    try:
        draw_frontier(candidates, domain, path)
    except MissingDependencyError:
        return False
    return True
