"""Fine-tuning on a host: sends and follows a job, verifies its task vector, and merges it on this device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from device_app.adaptation.adapt import conclude, vector_to_merge
from device_app.adaptation.decision import Outcome
from device_app.adaptation.settings import AdaptationSettings
from device_app.adaptation.test_sets import TestSets, build_test_sets, held_out_utterances
from device_app.adaptation.training_set import FineTuningResult, prepare
from device_app.data.store import Store
from device_app.execution import ExecutionContext
from device_app.models.bundles import find_bundle
from device_app.models.ledger import Ledger
from device_app.recognition.recordings.utterances import UtteranceTranscriber
from device_app.remote.client import HostClient
from device_app.remote.jobs import ARCHIVE, VECTOR, Job, pack_job
from device_app.remote.signatures import check_content, verify_document
from device_app.remote.trusted_hosts import Host, find_host, record_consent
from device_app.reporter import OnUpdate
from editing.errors import AsrEdgeError, BadInputError, TrainingError, counted
from editing.files import sha256
from editing.task_vector import TaskVector

# Seconds for which a host that does not answer is tried again; the user waits for both.
CANCEL_RETRY_S = 20.0
STATE_RETRY_S = 3.0  # a list of jobs asks for each of them


def adapt_on_host(
    store: Store,
    ledger: Ledger,
    settings: AdaptationSettings,
    finetuning: Mapping[str, Any],
    host: Host,
    model: str | None,
    context: ExecutionContext,
    *,
    send_held_out: bool,
    confirm: Callable[[str], None],
) -> Outcome | None:
    """Adapts to a domain. Only the fine-tuning runs on a host; everything else runs on this device.

    Args:
        store: the store with the utterances.
        ledger: the ledger of the model.
        settings: the settings of the adaptation.
        finetuning: settings of the fine-tuning, for the request to the host.
        host: a trusted host.
        model: the value of `--model`; None is the model in use.
        context: threads and reporter.
        send_held_out: also send the held-out utterances, for early stopping on the host.
        confirm: called with a question before recordings are sent to this host for the first time; it
            raises if the user declines, and nothing is sent.

    Returns:
        As `complete`.

    Raises:
        BadInputError: as `adapt`; or the host refuses the job.
        NetworkError: the host cannot be reached; `complete` can be called again.
        TrainingError: the fine-tuning failed on the host.
    """
    test_sets, training_set = prepare(store, ledger, settings, context)
    job = pack_job(training_set, settings, host.url, model, finetuning, send_held_out=send_held_out)
    count = len(training_set.training) + (len(training_set.held_out) if send_held_out else 0)
    what = f"{counted(count, 'recording')} with texts, {job.size / 1e6:.1f} MB"
    if not host.consent:
        try:
            confirm(f"{what}, are sent to {host.url}, which deletes them after the fine-tuning. Do you agree?")
        except BaseException:
            job.delete()
            raise
        host = record_consent(host)
    context.reporter.report(f"Sending {what}, to {host.url} ...")
    return complete(store, ledger, job, host, test_sets, context)


def complete(
    store: Store, ledger: Ledger, job: Job, host: Host, test_sets: TestSets | None, context: ExecutionContext
) -> Outcome | None:
    """Sends a job as far as necessary, waits for the host, merges the task vector, and lets the gate decide.

    Args:
        store: the store with the domain.
        ledger: the ledger of the model.
        job: a packed job, sent or not.
        host: its host.
        test_sets: as for `finish`.
        context: threads and reporter.

    Returns:
        The outcome; None if this task vector is an edit already.

    Raises:
        As `send`, `fetch` and `finish`.
    """
    reporter = context.reporter
    with HostClient(host, reporter.report) as client:
        with reporter.progress("sending", job.size) as advance:
            job = send(job, client, _from_total(advance))
        with reporter.finetuning() as show:
            result = fetch(job, client, _following(show, reporter.report))
        outcome = finish(store, ledger, job, result, test_sets, context)
        with suppress(AsrEdgeError):  # optional: the host removes finished jobs after some time
            client.cancel(job.identity)
    return outcome


def send(job: Job, client: HostClient, on_sent: Callable[[int], None]) -> Job:
    """Creates a job on its host and uploads its archive, unless that was done before.

    Args:
        job: a packed job.
        client: client of its host.
        on_sent: called with the number of bytes uploaded so far.

    Returns:
        The job, with its identity on the host.

    Raises:
        NetworkError: the host cannot be reached; can be called again.
        BadInputError: the host refuses the job.
    """
    if not job.identity:
        job = replace(job, identity=str(client.create(dict(job.request))["id"]))
        job.save()
    client.upload(job.identity, job.folder / ARCHIVE, on_sent)
    return job


def fetch(job: Job, client: HostClient, on_change: Callable[[Mapping[str, Any]], None]) -> FineTuningResult:
    """Waits for a job, downloads its task vector and verifies it.

    Args:
        job: a job that was sent.
        client: client of its host.
        on_change: called with the state of the job whenever it changes.

    Raises:
        NetworkError: the host cannot be reached; can be called again.
        TrainingError: the fine-tuning failed on the host.
        BadInputError: the task vector does not answer the request, or does not fit the model.
    """
    path = job.folder / VECTOR
    state: Mapping[str, Any] = {}
    for state in client.follow(job.identity):
        on_change(state)
    if state["state"] != "done":
        reason = state.get("error") or "the job was cancelled on the host"
        job.delete()
        raise TrainingError(
            f"{job.url}: the fine-tuning on {job.settings.domain} failed: {reason}; nothing was changed on this device"
        )
    record = verify_document(state["statement"], state["signature"], client.host.key)
    check_content(
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
    """Merges the result of a job, lets the gate decide, and deletes the job.

    Args:
        store: the store with the domain.
        ledger: the ledger of the model.
        job: a job whose result was fetched.
        result: the result.
        test_sets: the test sets, if they were built; they are rebuilt if the active version has changed.
        context: threads and reporter.

    Returns:
        The outcome; None if this task vector is an edit already, because an earlier call was killed.

    Raises:
        WrongBaseError, TaskVectorError: the vector does not fit the model.
        StorageError: the disk is full or cannot be written; can be called again.
    """
    ledger.check({job.url: result.vector})
    domain = job.settings.domain
    outcome = None
    with ledger.changing():
        if not ledger.has_edit_of(vector_to_merge(ledger, result.vector, domain)):
            if test_sets is None or test_sets.version != ledger.current.id:
                transcriber = UtteranceTranscriber(ledger.bundle(ledger.current), context.threads)
                held_out = held_out_utterances(store, domain)
                test_sets = build_test_sets(store, ledger, domain, held_out, transcriber, context.reporter)
            outcome = conclude(store, ledger, job.settings, test_sets, result, context)
    job.delete()
    return outcome


def cancel(job: Job, report: Callable[[str], None]) -> None:
    """Cancels a job on its host, and deletes it on this device.

    Args:
        job: a job, sent or not.
        report: receives messages about the network.

    Raises:
        NetworkError: the host cannot be reached; the job is not deleted.
        BadInputError: the host refuses, or is no longer trusted.
    """
    if job.identity:
        with HostClient(find_host(job.url), report, retry_s=CANCEL_RETRY_S) as client:
            client.cancel(job.identity)
    job.delete()


def state_of(job: Job) -> dict[str, Any]:
    """The state of a job on its host: "state", and if known "place" (in the queue), "progress" and "error".

    The state is "unknown", with the error, if the host cannot be asked.
    """
    if not job.identity:
        return {"state": "not sent yet"}
    try:
        with HostClient(find_host(job.url), retry_s=STATE_RETRY_S) as client:
            state = client.job(job.identity)
        return {key: state[key] for key in ("state", "place", "progress", "error")}
    except AsrEdgeError as error:
        return {"state": "unknown", "error": str(error)}


def describe(state: Mapping[str, Any]) -> str:
    """Describes the state of a job in one line."""
    text = str(state["state"])
    if text == "queued" and state.get("place"):
        text += f", {state['place']} before it"
    if progress := state.get("progress"):
        text += f", step {progress['step']:.0f} of {progress['steps']:.0f}, {progress['left_s'] / 60:.0f} min left"
    if state.get("error"):
        text += f" ({state['error']})"
    return text


def _from_total(advance: Callable[[float], None]) -> Callable[[int], None]:
    """Converts a callback for the amount added to one for the total."""
    sent = 0

    def on_sent(total: int) -> None:
        nonlocal sent
        advance(total - sent)
        sent = total

    return on_sent


def _following(show: OnUpdate, report: Callable[[str], None]) -> Callable[[Mapping[str, Any]], None]:
    """A callback that shows the progress of a job and reports its state whenever the state changes."""
    last = ""

    def on_change(state: Mapping[str, Any]) -> None:
        nonlocal last
        if progress := state.get("progress"):
            show(int(progress["step"]), int(progress["steps"]), int(progress["epoch"]), float(progress["loss"]))
        text = describe({**state, "progress": None})
        if text != last:
            report(f"On the host: {text}")
            last = text

    return on_change
