"""Learning on a host: what this device has sent there, and the way back of what was learnt.

Everything is in one folder a job: `job.json`, `dataset.tar`, and the task vector once it is here. A
job is in the folder before the host hears of it, and leaves it only when its edit is in the ledger.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from device_app.adaptation.adapt import Outcome, conclude
from device_app.adaptation.settings import Plan, settings_of
from device_app.adaptation.test_sets import Exam, examine, held_out_of
from device_app.adaptation.training_set import Learnt, Lesson
from device_app.data.store import Store
from device_app.models.bundles import find_bundle
from device_app.models.ledger import EditedBundle, Ledger
from device_app.paths import data_folder
from device_app.recognition.transcriber import Transcriber
from device_app.remote.archive import pack
from device_app.remote.client import HostClient
from device_app.remote.signatures import check, verified
from device_app.reporter import Screen
from editing.errors import AsrEdgeError, BadInputError, StorageError, TrainingError, one_line
from editing.files import cannot_write, make_folder, sha256, write_atomically
from editing.json_text import read_json
from editing.task_vector import Origin, TaskVector

ARCHIVE = "dataset.tar"
VECTOR = "vector.safetensors"


@dataclass(frozen=True)
class Job:
    """Something that a host learns for this device.

    Attributes:
        key: its name here; the host makes one job of it, however often it is sent.
        url: of the host.
        model: what `--model` said.
        plan: how it will be merged and judged.
        request: what the host was asked, as it was sent.
        origin: what the task vector will say of itself.
        created: ISO 8601, UTC.
        identity: of the job on the host; empty until it has heard of it.
    """

    key: str
    url: str
    model: str | None
    plan: Plan
    request: Mapping[str, Any]
    origin: Origin
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    identity: str = ""

    @property
    def folder(self) -> Path:
        return _folder() / self.key

    @property
    def size(self) -> int:
        """Bytes to send."""
        return int(self.request["dataset"]["bytes"])

    def save(self) -> None:
        """
        Raises:
            StorageError: it cannot be written.
        """
        write_atomically(self.folder / "job.json", (json.dumps(asdict(self), indent=1) + "\n").encode(), private=True)

    def forget(self) -> None:
        """Removes what there is of it here."""
        (self.folder / "job.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _folder() -> Path:
    return data_folder() / "jobs"


def jobs() -> list[Job]:
    """Jobs that have not come back yet, the oldest first. What a kill left of others is removed.

    Raises:
        StorageError: the record of one is damaged.
    """
    found = []
    for path in sorted(_folder().glob("*/job.json")):
        try:
            record = read_json(path)
            if record["key"] != path.parent.name:  # the folder that `forget` removes
                raise ValueError("it is another job's")
            plan, origin = Plan(**record.pop("plan")), Origin(**record.pop("origin"))
            found.append(Job(**record, plan=plan, origin=origin))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            said = one_line(str(error))
            raise StorageError(f"{path}: is damaged ({said}); remove its folder, and adapt again") from error
    return sorted(found, key=lambda job: job.created)


def find_job(name: str) -> Job:
    """A job by the beginning of its key, or of its identity on the host.

    Raises:
        BadInputError: there is none, or more than one.
    """
    matching = [job for job in jobs() if name and (job.key.startswith(name) or job.identity.startswith(name))]
    if len(matching) != 1:
        which = f"{len(matching)} jobs begin with {name}" if matching else f"there is no job {name}"
        raise BadInputError(f"{which}; 'asr-edge jobs' lists what this device waits for")
    return matching[0]


def pack_job(
    lesson: Lesson,
    plan: Plan,
    url: str,
    model: str | None,
    settings: Mapping[str, Any],
    *,
    score_remotely: bool = False,
) -> Job:
    """Puts together what a host needs. Nothing is sent yet.

    Args:
        lesson: what there is to learn.
        plan: how it will be merged and judged here.
        url: of the host.
        model: as `--model` named it.
        settings: of the fine-tuning.
        score_remotely: send the held-out utterances too, by which the host knows when to stop.

    Raises:
        BadInputError: a job for this domain is under way already.
        StorageError: the disk is full or cannot be written.
    """
    for other in jobs():
        if other.plan.domain == plan.domain:
            raise BadInputError(
                f"{plan.domain} is being learnt on {other.url} already (job {other.key[:8]}): 'asr-edge jobs attach "
                f"{other.key[:8]}' waits for it, 'asr-edge jobs cancel {other.key[:8]}' gives it up"
            )
    key = secrets.token_hex(16)
    folder = _folder() / key
    try:
        make_folder(folder)
        edits, vectors = _edits(lesson)
        digest = pack(folder / ARCHIVE, lesson.training, lesson.held_out if score_remotely else (), vectors)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, AsrEdgeError):
            raise
        raise cannot_write(folder, error) from error
    request = {
        "key": key,
        "base": lesson.origin.base,
        "edits": edits,
        "dataset": {"sha256": digest, "bytes": (folder / ARCHIVE).stat().st_size},
        "settings": {**settings, "density": kept_density(plan)},
    }
    job = Job(key, url, model, plan, request, lesson.origin)
    job.save()
    return job


def kept_density(plan: Plan) -> float:
    """How much of the vector the device can make use of, and therefore asks for."""
    settings = settings_of(plan)
    is_only_trimmed = plan.method == "ties" and settings["scope"] == "tensor"
    return float(settings["density"]) if is_only_trimmed and not plan.sweep else 1.0


def _edits(lesson: Lesson) -> tuple[list[dict[str, Any]], list[Path]]:
    """The edits that the version has which is learnt from, for the host to make it again; and their files."""
    bundle = lesson.bundle
    if not isinstance(bundle, EditedBundle):
        return [], []
    applied = bundle.version.applied
    edits = [{"vectors": list(a.vectors), "method": a.method, "settings": dict(a.settings)} for a in applied]
    names = dict.fromkeys(name for a in applied for name in a.vectors)
    return edits, [bundle.ledger.vector_path(name) for name in names]


def send(job: Job, client: HostClient, on_sent: Callable[[int], None]) -> Job:
    """Tells the host of a job and sends its archive, as far as that has not been done.

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


def fetch(job: Job, client: HostClient, on_change: Callable[[Mapping[str, Any]], None]) -> Learnt:
    """Waits for a job that was sent, fetches the task vector and verifies it.

    Args:
        job: sent.
        client: of its host.
        on_change: called with where the job is, whenever that changes.

    Raises:
        NetworkError: the host cannot be reached; call again.
        TrainingError: the host could not learn it.
        BadInputError: what the host sends is not what was asked for, or does not fit the model.
    """
    path = job.folder / VECTOR
    state: Mapping[str, Any] = {}
    for state in client.follow(job.identity):
        on_change(state)
    if state["state"] != "done":
        reason = state.get("error") or "it was cancelled there"
        job.forget()
        raise TrainingError(f"{job.url}: could not learn {job.plan.domain}: {reason}; nothing was changed here")
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
    return Learnt(replace(vector, origin=job.origin), losses, float(result.get("seconds", 0.0)))


def finish(
    store: Store, ledger: Ledger, job: Job, learnt: Learnt, exam: Exam | None, threads: int | None, screen: Screen
) -> Outcome | None:
    """Does with what a host has learnt what `adapt` does: merges, judges, records. Then the job is over.

    Args:
        store: where the domain is.
        ledger: of the model.
        job: fetched.
        learnt: what came.
        exam: what to judge by, if it was prepared; it is prepared anew where the model has changed since.
        threads: for the recogniser.
        screen: is told.

    Returns:
        What was decided; None where this very vector became an edit before, and a kill came between.

    Raises:
        WrongBaseError, TaskVectorError: the vector does not fit the model.
        StorageError: the disk is full or cannot be written; call again.
    """
    ledger.check({job.url: learnt.vector})
    outcome = None
    with ledger.changing():
        if not ledger.has_edit_of(learnt.vector):
            if exam is None or exam.version != ledger.current.id:
                transcriber = Transcriber(ledger.bundle(ledger.current), threads=threads)
                held_out = held_out_of(store, job.plan.domain)
                exam = examine(store, ledger, job.plan.domain, held_out, transcriber, screen)
            outcome = conclude(ledger, job.plan, exam, learnt, threads, screen)
    job.forget()
    return outcome
