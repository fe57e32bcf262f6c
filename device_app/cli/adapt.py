"""asr-edge adapt: learn a domain from its labelled recordings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from device_app.cli import completion, options
from device_app.cli.judging import open_ledger
from device_app.cli.printing import ask
from device_app.cli.terminal.outcome import report_adaptation
from device_app.cli.terminal.reporter import terminal_context
from device_app.data.names import DEFAULT_DOMAIN
from device_app.extras import need_packages

if TYPE_CHECKING:
    from device_app.adaptation.decision import Outcome
    from device_app.adaptation.settings import AdaptationSettings
    from device_app.execution import ExecutionContext
    from device_app.models.ledger import Ledger


def adapt(
    domain: Annotated[
        str, typer.Option(help="The domain to learn.", autocompletion=completion.complete_domain)
    ] = DEFAULT_DOMAIN,
    lam: options.LambdaOrAuto = None,
    method: options.Method = "ties",
    density: options.Density = None,
    others: options.Settings = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, max=200, help="Passes over the recordings.", show_default="by their number")
    ] = None,
    scope: Annotated[
        Literal["acoustic", "all", "encoder", "decoder", "attention"],
        typer.Option(help="Which weights may change; acoustic: the encoder, and the decoder's attention to it."),
    ] = "encoder",
    augment: Annotated[bool, typer.Option("--augment", help="Vary speed, noise and timing of the recordings.")] = False,
    orthography: Annotated[
        Literal["keep", "learn"], typer.Option(help="Keep the model's own case and punctuation, or learn the labels'.")
    ] = "keep",
    replay: Annotated[int, typer.Option(min=0, metavar="N", help="Also train on N utterances of earlier domains.")] = 0,
    tolerance: options.Tolerance = options.DEFAULT_TOLERANCE,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Random seed; the same seed gives the same edit.")
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do not make the result active.")] = False,
    force: options.Force = False,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Fine-tune on a host; needs no torch here.", autocompletion=completion.complete_host
        ),
    ] = None,
    send_held_out: Annotated[
        bool,
        typer.Option(
            "--send-held-out",
            help="Also send the held-out utterances, so that the host can stop early, as a run here does.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Send recordings to the host without asking.")] = False,
    model: options.Model = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Learn from labelled recordings; the result is used only if it is better, and hardly worse for other speech.

    Exit code 3: the gate rejected it.
    """
    from device_app.adaptation.settings import AdaptationSettings

    settings = AdaptationSettings(
        domain=domain,
        merge=options.merge_settings(lam, density, method, others, allows_negative=False, allows_auto=True),
        gate=options.gate_policy(tolerance, force=force, dry_run=dry_run),
        sweep=lam == options.AUTO,
        orthography=orthography,
        replay=replay,
        seed=seed,
    )
    finetuning = {"epochs": epochs, "scope": scope, "augment": augment, "seed": seed}
    context = terminal_context(threads)
    if on is not None:
        ledger, outcome = _on_host(
            on, settings, finetuning, model, context, send_held_out=send_held_out, has_consented=yes
        )
    else:
        ledger, outcome = _here(settings, finetuning, model, context)
    report_adaptation(ledger, outcome, domain, as_json)


def _here(
    settings: AdaptationSettings, finetuning: Mapping[str, Any], model: str | None, context: ExecutionContext
) -> tuple[Ledger, Outcome | None]:
    """Fine-tunes on this machine. If that is interrupted or fails, the checkpoint stays for the next call."""
    from device_app.adaptation.adapt import adapt as run
    from device_app.adaptation.local_training import WITHOUT_TORCH, LocalFineTuning
    from device_app.data.store import Store
    from device_app.execution import lower_priority

    need_packages("train", hint=WITHOUT_TORCH)
    lower_priority()
    finetune = LocalFineTuning(finetuning, context.reporter)
    with Store() as store:
        ledger = open_ledger(model)
        with ledger.changing():
            try:
                outcome = run(store, ledger, settings, finetune, context)
            except KeyboardInterrupt:
                then = "continues it" if finetune.has_checkpoint else "starts it again"
                options.tell(f"Interrupted; nothing was changed. The same command {then}.")
                raise
            finetune.remove_checkpoint()
    return ledger, outcome


def _on_host(
    url: str,
    settings: AdaptationSettings,
    finetuning: Mapping[str, Any],
    model: str | None,
    context: ExecutionContext,
    *,
    send_held_out: bool,
    has_consented: bool,
) -> tuple[Ledger, Outcome | None]:
    """Fine-tunes on a host; the outcome is None if the job's task vector is an edit already."""
    from device_app.data.store import Store
    from device_app.remote.training import adapt_on_host
    from device_app.remote.trusted_hosts import find_host

    def confirm(question: str) -> None:
        if not has_consented:
            ask(question, abort=True)

    host = find_host(url)
    with Store() as store:
        ledger = open_ledger(model)
        outcome = adapt_on_host(
            store,
            ledger,
            settings,
            finetuning,
            host,
            model,
            context,
            send_held_out=send_held_out,
            confirm=confirm,
        )
    return ledger, outcome
