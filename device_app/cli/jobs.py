"""asr-edge jobs, and `adapt --on`: what hosts learn for this device."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from device_app.cli import options
from device_app.cli.terminal import outcome as screen
from device_app.cli.terminal.progress import progress
from device_app.cli.terminal.table import print_table

if TYPE_CHECKING:
    from device_app.adaptation.settings import Plan
    from device_app.adaptation.test_sets import Exam
    from device_app.data.store import Store
    from device_app.models.ledger import Ledger
    from device_app.remote.jobs import Job
    from device_app.remote.trusted_hosts import Host

app = typer.Typer(help="What hosts learn for this device.", invoke_without_command=True)


def _complete_job(typed: str) -> list[str]:
    from device_app.remote.jobs import jobs as all_jobs

    return [job.key[:8] for job in all_jobs() if job.key[:8].startswith(typed)]


JobId = Annotated[
    str, typer.Argument(metavar="ID", help="A job; its beginning is enough.", autocompletion=_complete_job)
]


@app.callback(invoke_without_command=True)
def jobs(context: typer.Context, as_json: options.Json = False) -> None:
    """Show what this device has sent to hosts, and how far that is."""
    if context.invoked_subcommand is not None:
        return
    from device_app.remote.jobs import jobs as all_jobs

    found = [(job, _state(job)) for job in all_jobs()]
    if as_json:
        rows = [
            {"id": job.key, "host": job.url, "domain": job.plan.domain, "created": job.created, **state}
            for job, state in found
        ]
        typer.echo(json.dumps(rows, indent=2))
    elif not found:
        typer.echo("Nothing is being learnt elsewhere. 'asr-edge adapt --domain NAME --on URL' begins.")
    else:
        head = ("job", "domain", "host", "since", "state")
        table = [
            (job.key[:8], job.plan.domain, job.url, job.created[:16].replace("T", " "), _words(state))
            for job, state in found
        ]
        print_table([head, *table], right=())


@app.command()
def attach(
    job: JobId, model: options.Model = None, threads: options.Threads = None, as_json: options.Json = False
) -> None:
    """Wait for a job again; then merge, judge and put into service, as 'adapt' would have.

    Exit code 3: the gate kept the old model.
    """
    from device_app.data.store import Store
    from device_app.models.bundles import find_bundle
    from device_app.models.ledger import Ledger
    from device_app.remote.jobs import find_job
    from device_app.remote.trusted_hosts import find_host

    found = find_job(job)
    with Store() as store:
        ledger = Ledger(find_bundle(model or found.model))
        _finish(store, ledger, found, find_host(found.url), None, threads, as_json)


@app.command()
def cancel(job: JobId) -> None:
    """Give a job up, here and on its host."""
    from device_app.remote.client import HostClient
    from device_app.remote.jobs import find_job
    from device_app.remote.trusted_hosts import find_host

    found = find_job(job)
    if found.identity:
        with HostClient(find_host(found.url), options.tell, patience_s=20.0) as client:
            client.cancel(found.identity)
    found.forget()
    options.tell(f"Job {found.key[:8]} is given up.")


def adapt_on(
    url: str,
    plan: Plan,
    how: Mapping[str, Any],
    model: str | None,
    threads: int | None,
    *,
    score_remotely: bool,
    agreed: bool,
    as_json: bool,
) -> None:
    """`asr-edge adapt --on`: the fine-tuning on a host, all the rest here."""
    from device_app.adaptation.training_set import prepare
    from device_app.data.store import Store
    from device_app.models.bundles import find_bundle
    from device_app.models.ledger import Ledger
    from device_app.remote.jobs import pack_job
    from device_app.remote.trusted_hosts import agree, find_host

    host = find_host(url)
    with Store() as store:
        ledger = Ledger(find_bundle(model))
        exam, lesson = prepare(store, ledger, plan, threads, screen.Terminal())
        job = pack_job(lesson, plan, host.url, model, how, score_remotely=score_remotely)
        count = len(lesson.training) + (len(lesson.held_out) if score_remotely else 0)
        what = f"{count} recordings with their texts, {job.size / 1e6:.1f} MB"
        if not host.consent:
            try:
                if not agreed:
                    question = f"{what}, go to {host.url}, which removes them when it has learnt. Do you agree?"
                    typer.confirm(question, abort=True, err=True)
            except BaseException:
                job.forget()
                raise
            host = agree(host)
        options.tell(f"Sending {what}, to {host.url} ...")
        _finish(store, ledger, job, host, exam, threads, as_json)


def _finish(
    store: Store, ledger: Ledger, job: Job, host: Host, exam: Exam | None, threads: int | None, as_json: bool
) -> None:
    """Sends what is not sent, waits, and tells what came of it."""
    from contextlib import suppress

    from device_app.cli.adapt import tell_outcome
    from device_app.remote.client import HostClient
    from device_app.remote.jobs import fetch, finish, send
    from editing.errors import AsrEdgeError

    with HostClient(host, options.tell) as client:
        with progress("sending", job.size) as advance:
            job = send(job, client, _by_steps(advance))
        with screen.tuning_progress() as show:
            learnt = fetch(job, client, _teller(show))
        outcome = finish(store, ledger, job, learnt, exam, threads, screen.Terminal())
        with suppress(AsrEdgeError):  # the host has no use for it any more; untold, it removes it in time
            client.cancel(job.identity)
    if outcome is None:
        options.tell(f"{job.plan.domain} was learnt from this job already; 'asr-edge log' shows the edit.")
    else:
        tell_outcome(ledger, outcome, job.plan.domain, as_json)


def _by_steps(advance: Callable[[float], None]) -> Callable[[int], None]:
    """From how much there is in all to how much there is more."""
    sent = 0

    def on_sent(total: int) -> None:
        nonlocal sent
        advance(total - sent)
        sent = total

    return on_sent


def _teller(show: Callable[[int, int, int, float], None]) -> Callable[[Mapping[str, Any]], None]:
    last = ""

    def tell(state: Mapping[str, Any]) -> None:
        nonlocal last
        at = state.get("progress")
        if at:
            show(int(at["step"]), int(at["steps"]), int(at["epoch"]), float(at["loss"]))
        words = _words({**state, "progress": None})
        if words != last:
            options.tell(f"On the host: {words}")
            last = words

    return tell


def _state(job: Job) -> dict[str, Any]:
    """Where a job is on its host, or why that is not known."""
    from device_app.remote.client import HostClient
    from device_app.remote.trusted_hosts import find_host
    from editing.errors import AsrEdgeError

    if not job.identity:
        return {"state": "not sent yet"}
    try:
        with HostClient(find_host(job.url), patience_s=3.0) as client:
            state = client.job(job.identity)
        return {key: state[key] for key in ("state", "place", "progress", "error")}
    except AsrEdgeError as error:
        return {"state": "unknown", "error": str(error)}


def _words(state: Mapping[str, Any]) -> str:
    words = str(state["state"])
    if words == "queued" and state.get("place"):
        words += f", {state['place']} before it"
    if at := state.get("progress"):
        words += f", step {at['step']:.0f} of {at['steps']:.0f}, {at['left_s'] / 60:.0f} min left"
    if state.get("error"):
        words += f" ({state['error']})"
    return words
