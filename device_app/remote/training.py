"""Fine-tuning on a host: a job is sent and followed, and its task vector is verified, merged and judged here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from device_app.adaptation.adapt import conclude
from device_app.adaptation.decision import Outcome
from device_app.adaptation.settings import AdaptationSettings
from device_app.adaptation.test_sets import TestSets, build_test_sets, held_out_of
from device_app.adaptation.training_set import FineTuningResult, prepare
from device_app.data.store import Store
from device_app.execution import ExecutionContext
from device_app.models.bundles import find_bundle
from device_app.models.ledger import Ledger
from device_app.recognition.transcriber import Transcriber
from device_app.remote.client import HostClient
from device_app.remote.jobs import ARCHIVE, VECTOR, Job, pack_job
from device_app.remote.signatures import check, verified
from device_app.remote.trusted_hosts import Host, agree, find_host
from device_app.reporter import OnUpdate
from editing.errors import AsrEdgeError, BadInputError, TrainingError
from editing.files import sha256
from editing.task_vector import TaskVector


def adapt_on_host(
    store: Store,
    ledger: Ledger,
    settings: AdaptationSettings,
    finetuning: Mapping[str, Any],
    host: Host,
    model: str | None,
    context: ExecutionContext,
    *,
    score_remotely: bool,
    confirm: Callable[[str], None],
) -> Outcome | None:
    """Adapts to a domain with the fine-tuning on a host, and all the rest here.

    Args:
        store: where the utterances are.
        ledger: of the model.
        settings: of the adaptation.
        finetuning: settings of the fine-tuning.
        host: trusted.
        model: as `--model` named it.
        context: threads and reporter.
        score_remotely: send the held-out utterances too: they decide when the host stops.
        confirm: called with a question before recordings go to this host for the first time; raises if the
            answer is no, and nothing is sent.

    Returns:
        As `complete`.

    Raises:
        BadInputError: as `adapt`; or the host refuses the job.
        NetworkError: the host cannot be reached; `complete` can be called again.
        TrainingError: the fine-tuning failed on the host.
    """
    test_sets, training_set = prepare(store, ledger, settings, context)
    job = pack_job(training_set, settings, host.url, model, finetuning, score_remotely=score_remotely)
    count = len(training_set.training) + (len(training_set.held_out) if score_remotely else 0)
    what = f"{count} recordings with their texts, {job.size / 1e6:.1f} MB"
    if not host.consent:
        try:
            confirm(f"{what}, go to {host.url}, which removes them when it has learnt. Do you agree?")
        except BaseException:
            job.forget()
            raise
        host = agree(host)
    context.reporter.say(f"Sending {what}, to {host.url} ...")
    return complete(store, ledger, job, host, test_sets, context)


def complete(
    store: Store, ledger: Ledger, job: Job, host: Host, test_sets: TestSets | None, context: ExecutionContext
) -> Outcome | None:
    """Sends what is not sent of a job, waits for the host, and then does with the task vector what `adapt` does.

    Returns:
        What was decided; None where this very vector became an edit before.

    Raises:
        As `send`, `fetch` and `finish`.
    """
    reporter = context.reporter
    with HostClient(host, reporter.say) as client:
        with reporter.progress("sending", job.size) as advance:
            job = send(job, client, _from_total(advance))
        with reporter.finetuning() as show:
            result = fetch(job, client, _following(show, reporter.say))
        outcome = finish(store, ledger, job, result, test_sets, context)
        with suppress(AsrEdgeError):  # the host has no use for the job any more, and removes it in time anyway
            client.cancel(job.identity)
    return outcome


def send(job: Job, client: HostClient, on_sent: Callable[[int], None]) -> Job:
    """Creates a job on its host and sends its archive, as far as that has not been done.

    Args:
        job: packed.
        client: of its host.
        on_sent: called with how many bytes are sent.

    Returns:
        The job, with the name by which the host knows it.

    Raises:
        NetworkError: the host cannot be reached; call again.
        BadInputError: the host refuses it.
    """
    if not job.identity:
        job = replace(job, identity=str(client.create(dict(job.request))["id"]))
        job.save()
    client.upload(job.identity, job.folder / ARCHIVE, on_sent)
    return job


def fetch(job: Job, client: HostClient, on_change: Callable[[Mapping[str, Any]], None]) -> FineTuningResult:
    """Waits for a job that was sent, fetches the task vector and verifies it.

    Args:
        job: sent.
        client: of its host.
        on_change: called with the state of the job, whenever that changes.

    Raises:
        NetworkError: the host cannot be reached; call again.
        TrainingError: the fine-tuning failed on the host.
        BadInputError: what the host sends is not what was asked for, or does not fit the model.
    """
    path = job.folder / VECTOR
    state: Mapping[str, Any] = {}
    for state in client.follow(job.identity):
        on_change(state)
    if state["state"] != "done":
        reason = state.get("error") or "it was cancelled there"
        job.forget()
        raise TrainingError(f"{job.url}: could not learn {job.settings.domain}: {reason}; nothing was changed here")
    record = verified(state["statement"], state["signature"], client.host.key)
    check(
        record,
        {
            "kind": "task-vector",
            "job": job.identity,
            "base": job.request["base"],
            "edits": job.request["edits"],
            "dataset": job.request["dataset"]["sha256"],
            "settings": job.request["settings"],
        },
    )
    if not path.is_file() or sha256(path) != record["vector"]:
        client.task_vector(job.identity, path)
    if sha256(path) != record["vector"]:
        path.unlink()
        raise BadInputError(f"{job.url}: sent another task vector than it signed; nothing was merged")
    bundle = find_bundle(job.model)
    vector = TaskVector.load(path, base=bundle.weights_hash, shapes=bundle.shapes(), name=job.url)
    result = state.get("result") or {}
    losses = [float(loss) for loss in result.get("losses", [])]
    return FineTuningResult(replace(vector, origin=job.origin), losses, float(result.get("seconds", 0.0)))


def finish(
    store: Store,
    ledger: Ledger,
    job: Job,
    result: FineTuningResult,
    test_sets: TestSets | None,
    context: ExecutionContext,
) -> Outcome | None:
    """Does with the result of a host what `adapt` does: merges, judges, records. Then the job is over.

    Args:
        store: where the domain is.
        ledger: of the model.
        job: fetched.
        result: what came.
        test_sets: to judge by, if they were built; they are built anew where the model has changed since.
        context: threads and reporter.

    Returns:
        What was decided; None where this very vector became an edit before, and a kill came between.

    Raises:
        WrongBaseError, TaskVectorError: the vector does not fit the model.
        StorageError: the disk is full or cannot be written; call again.
    """
    ledger.check({job.url: result.vector})
    domain = job.settings.domain
    outcome = None
    with ledger.changing():
        if not ledger.has_edit_of(result.vector):
            if test_sets is None or test_sets.version != ledger.current.id:
                transcriber = Transcriber(ledger.bundle(ledger.current), threads=context.threads)
                held_out = held_out_of(store, domain)
                test_sets = build_test_sets(store, ledger, domain, held_out, transcriber, context.reporter)
            outcome = conclude(ledger, job.settings, test_sets, result, context)
    job.forget()
    return outcome


def cancel(job: Job, say: Callable[[str], None]) -> None:
    """Ends a job on its host, and removes what there is of it here.

    Args:
        job: sent or not.
        say: receives messages about the network.

    Raises:
        NetworkError: the host cannot be reached; the job stays here.
        BadInputError: the host refuses, or is not trusted any more.
    """
    if job.identity:
        with HostClient(find_host(job.url), say, patience_s=20.0) as client:
            client.cancel(job.identity)
    job.forget()


def state_of(job: Job) -> dict[str, Any]:
    """The state of a job on its host: "state", and as far as it is known "place", "progress" and "error"."""
    if not job.identity:
        return {"state": "not sent yet"}
    try:
        with HostClient(find_host(job.url), patience_s=3.0) as client:
            state = client.job(job.identity)
        return {key: state[key] for key in ("state", "place", "progress", "error")}
    except AsrEdgeError as error:
        return {"state": "unknown", "error": str(error)}


def describe(state: Mapping[str, Any]) -> str:
    """The state of a job in a line, for people."""
    words = str(state["state"])
    if words == "queued" and state.get("place"):
        words += f", {state['place']} before it"
    if at := state.get("progress"):
        words += f", step {at['step']:.0f} of {at['steps']:.0f}, {at['left_s'] / 60:.0f} min left"
    if state.get("error"):
        words += f" ({state['error']})"
    return words


def _from_total(advance: Callable[[float], None]) -> Callable[[int], None]:
    """A function of the total from a function of the increase."""
    sent = 0

    def on_sent(total: int) -> None:
        nonlocal sent
        advance(total - sent)
        sent = total

    return on_sent


def _following(show: OnUpdate, say: Callable[[str], None]) -> Callable[[Mapping[str, Any]], None]:
    """Passes on the progress of a job, and says its state whenever that is another."""
    last = ""

    def on_change(state: Mapping[str, Any]) -> None:
        nonlocal last
        at = state.get("progress")
        if at:
            show(int(at["step"]), int(at["steps"]), int(at["epoch"]), float(at["loss"]))
        words = describe({**state, "progress": None})
        if words != last:
            say(f"On the host: {words}")
            last = words

    return on_change
