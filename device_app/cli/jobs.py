"""asr-edge jobs: fine-tunings of this device that run on hosts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from device_app.cli import options
from device_app.cli.completion import profile_of
from device_app.cli.judging import open_ledger
from device_app.cli.printing import echo, print_json
from device_app.cli.terminal.outcome import report_adaptation
from device_app.cli.terminal.reporter import terminal_context
from device_app.cli.terminal.table import print_table

app = typer.Typer(help="Fine-tunings that run on hosts.", invoke_without_command=True)


def _complete_job(context: typer.Context, typed: str) -> list[str]:
    from device_app.remote.jobs import jobs as all_jobs

    with profile_of(context):
        return [job.key[:8] for job in all_jobs() if job.key[:8].startswith(typed)]


JobId = Annotated[
    str, typer.Argument(metavar="ID", help="A job, or the first characters of its ID.", autocompletion=_complete_job)
]


@app.callback(invoke_without_command=True)
def jobs(context: typer.Context, as_json: options.Json = False) -> None:
    """Show the jobs that this device has sent to hosts, and their state."""
    if context.invoked_subcommand is not None:
        return
    from device_app.remote.jobs import jobs as all_jobs
    from device_app.remote.training import describe, state_of

    found = [(job, state_of(job)) for job in all_jobs()]
    if as_json:
        rows = [
            {
                "id": job.key,
                "host": job.url,
                "domain": job.settings.domain,
                "created": job.created,
                **dict.fromkeys(("place", "progress", "error")),  # null, unless the state has them
                **state,
            }
            for job, state in found
        ]
        print_json(rows)
    elif not found:
        echo("There are no jobs. 'asr-edge adapt --domain NAME --on URL' starts one.")
    else:
        head = ("job", "domain", "host", "created", "state")
        table = [
            (job.key[:8], job.settings.domain, job.url, _local_time(job.created), describe(state))
            for job, state in found
        ]
        print_table([head, *table], right=())


def _local_time(created: str) -> str:
    try:
        return f"{datetime.fromisoformat(created).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:  # of a file that was edited by hand
        return created


@app.command()
def attach(job: JobId, threads: options.Threads = None, as_json: options.Json = False) -> None:
    """Send a job if that was interrupted, wait for it, then merge and check its result as 'adapt' does.

    Exit code 3: the gate rejected it.
    """
    from device_app.data.store import Store
    from device_app.remote.jobs import find_job
    from device_app.remote.training import complete
    from device_app.remote.trusted_hosts import find_host

    found = find_job(job)
    with Store() as store:
        ledger = open_ledger(found.model)
        outcome = complete(store, ledger, found, find_host(found.url), None, terminal_context(threads))
    report_adaptation(ledger, outcome, found.settings.domain, as_json)


@app.command()
def cancel(job: JobId) -> None:
    """Cancel a job here and on its host."""
    from device_app.remote import training
    from device_app.remote.jobs import find_job

    found = find_job(job)
    training.cancel(found, options.tell)
    options.tell(f"Job {found.key[:8]} is cancelled.")
