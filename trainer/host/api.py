"""The host's HTTP API: parses requests, authenticates devices, calls `Jobs` and the database, and responds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Header, HTTPException, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from device_app.service.http.logs import log_request
from device_app.service.http.requests import ReportRequests
from trainer.host.auth import CallingDevice, Group, Host, HostState, OwnJob, retry_later
from trainer.host.contributions import accept_contribution, incoming_file, vector_file
from trainer.host.database import UNFINISHED, Device, Job, State
from trainer.host.metrics import JobMetrics
from trainer.host.schemas import TrainingRequest
from trainer.host.serving.json_bodies import JsonBodies
from trainer.host.serving.statuses import EVERY, OF_JOB, WITH_TOKEN, add_error_handlers, errors, upload_cancelled
from trainer.host.uploads import append_body

POLL_S = 0.5  # between two looks at a job's state or a device's token
STALLED_S = 30.0  # the jobs' states are read every 0.3 s; between, removing old files takes seconds
KEEP_ALIVE_S = 15.0  # sends an event at least so often, because a silent connection may be dead

Sha256 = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{64}$")]
router = APIRouter()


class JobStatus(BaseModel):
    """The state of a job.

    Attributes:
        key: the idempotency key of the request.
        place: the number of jobs before it in the queue.
        received: bytes of the dataset received so far, of `bytes`.
        progress: step, steps, epoch, loss per token and seconds left, while the job runs.
        error: why the job failed.
        statement, signature: the host's signed statement about the task vector.
        result: training losses by epoch, and seconds of fine-tuning, once the job is done.
        created: seconds since 1970.
    """

    id: str
    key: str
    state: State
    place: int
    received: int
    bytes: int
    progress: dict[str, float] | None
    error: str | None
    statement: str | None
    signature: str | None
    result: dict[str, Any] | None
    created: float


class JobList(BaseModel):
    jobs: list[JobStatus]


class HostIdentity(BaseModel):
    """The host's signing key (base64), and its certificate authority (PEM) if it has its own."""

    key: str
    authority: str | None


class Health(BaseModel):
    status: Literal["ok"]
    queued: int
    running: int


class Offer(BaseModel):
    """The host's signed statement about a group's merged vector."""

    statement: str
    signature: str


# The OpenAPI description of a request whose body is a file; FastAPI cannot derive it, as the body is streamed.
_BYTES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/v1/health", responses=errors(*EVERY))
async def health(host: Host) -> Health:
    """Whether the host processes jobs, and how many were queued and running less than a second ago."""
    # Answers from memory, without a thread of the pool: those may all wait for the disk.
    if not host.jobs.is_alive():
        raise retry_later(503, "the host is starting or stopping")
    if (waiting_s := host.jobs.waiting_s()) > STALLED_S:
        raise retry_later(503, f"no job has been processed for {waiting_s:.0f} s: does the host's disk respond?")
    return Health(status="ok", queued=host.jobs.queued, running=host.jobs.running)


@router.get("/v1/identity", responses=errors(*EVERY))
def identity(host: Host) -> HostIdentity:
    """The keys that devices pin."""
    return HostIdentity(key=host.signer.public_key, authority=host.signer.authority)


@router.get("/metrics", response_class=Response, responses=errors(*WITH_TOKEN))
def metrics(_device: CallingDevice, host: Host) -> Response:
    """Metrics for Prometheus."""
    registry = CollectorRegistry()
    registry.register(JobMetrics(host.jobs))
    return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")


@router.post(
    "/v1/jobs",
    status_code=201,
    responses={200: {"model": JobStatus, "description": "The job of this key exists already."}, **errors(*WITH_TOKEN)},
)
def create(requested: TrainingRequest, device: CallingDevice, host: Host, response: Response) -> JobStatus:
    """Creates a fine-tuning job; the dataset is uploaded next."""
    if requested.dataset.bytes > host.jobs.limits.archive_bytes:
        raise HTTPException(413, f"a dataset may have {host.jobs.limits.archive_bytes} bytes on this host")
    if not host.jobs.database.has_job(device.id, requested.key):
        if host.jobs.database.count(*UNFINISHED, device=device.id) >= host.jobs.limits.jobs_of_device:
            raise retry_later(429, f"a device may have {host.jobs.limits.jobs_of_device} jobs at once")
        if host.jobs.database.count(*UNFINISHED) >= host.jobs.limits.jobs:
            raise retry_later(503, "the queue is full")
        if host.jobs.database.announced_bytes(device.id) + requested.dataset.bytes > host.jobs.limits.device_bytes:
            raise retry_later(429, f"a device may have {host.jobs.limits.device_bytes} bytes of datasets at once")
        host.jobs.disk.require(requested.dataset.bytes)
        host.jobs.database.forget_ended(device.id, host.jobs.limits.ended_of_device)
    # Stores only the fields that the device sent: the host signs them, and the device compares them with its own.
    request = requested.model_dump(mode="json", exclude_unset=True)
    job, is_new = host.jobs.database.add_job(device.id, requested.key, request)
    response.status_code = 201 if is_new else 200
    return _status(host, job)


@router.get("/v1/jobs", responses=errors(*WITH_TOKEN))
def list_jobs(device: CallingDevice, host: Host) -> JobList:
    """Lists the jobs of this device."""
    return JobList(jobs=[_status(host, job) for job in host.jobs.database.jobs(device=device.id)])


@router.get("/v1/jobs/{identity}", responses=errors(*OF_JOB))
def show(job: OwnJob, host: Host) -> JobStatus:
    """The state of a job."""
    return _status(host, job)


@router.delete("/v1/jobs/{identity}", status_code=204, responses=errors(*OF_JOB))
def cancel(job: OwnJob, host: Host) -> None:
    """Cancels a job and removes its files; ends its upload."""
    host.uploading.discard(job.id)
    host.jobs.cancel(job)


@router.patch("/v1/jobs/{identity}/dataset", openapi_extra=_BYTES, responses=errors(*OF_JOB, 409))
async def upload(
    job: OwnJob, device: CallingDevice, host: Host, request: Request, upload_offset: Annotated[int, Header(ge=0)]
) -> JobStatus:
    """Continues the upload of a dataset from an offset, which must equal `received`."""
    if job.state != "uploading":  # already complete: the device sent it twice, or missed the response
        return await run_in_threadpool(_status, host, job)
    _begin_upload(host, job.id)
    try:
        received = await run_in_threadpool(_check_upload, host, job, upload_offset)
        path = host.jobs.archive(job)
        limit = job.request["dataset"]["bytes"] - received
        try:
            received += await append_body(
                request, path, limit, host.jobs.limits.idle_timeout_s, host.jobs.disk, _is_wanted(host, job.id, device)
            )
            if received == job.request["dataset"]["bytes"]:
                await run_in_threadpool(host.jobs.received_all, job)
        except FileNotFoundError:  # its folder was removed
            raise upload_cancelled() from None
        except OSError:
            await run_in_threadpool(host.jobs.remove_upload, job)
            raise
    finally:
        if job.id not in host.uploading:  # cancelled; this request may have made the folder again
            await run_in_threadpool(host.jobs.cancel, job)
        host.uploading.discard(job.id)
    return await run_in_threadpool(_current_status, host, job)


@router.get("/v1/jobs/{identity}/events", response_class=EventSourceResponse, responses=errors(*OF_JOB))
async def events(job: OwnJob, device: CallingDevice, host: Host) -> AsyncIterator[ServerSentEvent]:
    """Sends the state of a job whenever it changes, until the job has ended or the token is revoked."""
    last, sent = None, 0.0
    while True:
        status = await run_in_threadpool(_status_unless_revoked, host, job, device)
        if status is None:
            return
        if status != last or time.monotonic() - sent > KEEP_ALIVE_S:
            last, sent = status, time.monotonic()
            yield ServerSentEvent(data=status)
        if status.state not in UNFINISHED:
            return
        await asyncio.sleep(POLL_S)


@router.get("/v1/jobs/{identity}/task-vector", response_class=FileResponse, responses=errors(*OF_JOB, 409, 410))
def task_vector(job: OwnJob, host: Host) -> FileResponse:
    """The task vector: a .safetensors file."""
    path = host.jobs.vector(job)
    if path is None:
        raise HTTPException(409 if job.state in UNFINISHED else 410, f"there is no task vector; the job is {job.state}")
    return FileResponse(path, media_type="application/octet-stream")


@router.put(
    "/v1/groups/{group}/contributions/{vector}",
    status_code=201,
    openapi_extra=_BYTES,
    responses=errors(*OF_JOB, 409),
)
async def contribute(
    group: Group, vector: Sha256, device: CallingDevice, host: Host, request: Request
) -> dict[str, str]:
    """Contributes a task vector to a group; its name is its SHA-256."""
    temporary = incoming_file(host.folder, device.id)
    _begin_upload(host, name := f"contribution of {device.id}")
    try:
        limits = host.jobs.limits
        size = await append_body(
            request,
            temporary,
            limits.vector_bytes,
            limits.idle_timeout_s,
            host.jobs.disk,
            _is_wanted(host, name, device),
        )
        if not size:
            raise HTTPException(422, "the body is empty")
        await run_in_threadpool(accept_contribution, host.jobs.database, host.folder, device, group, vector, temporary)
    finally:
        host.uploading.discard(name)
        await run_in_threadpool(temporary.unlink, missing_ok=True)
    return {"vector": vector}


@router.get("/v1/groups/{group}/vector/{base}", responses=errors(*OF_JOB))
def offered(group: Group, base: Sha256, host: Host) -> Offer:
    """The merged vector that the host offers this group for a base model."""
    found = host.jobs.database.offered(group, base)
    if found is None:
        raise HTTPException(404, "this group has no vector for that base yet")
    return Offer(statement=found[1], signature=found[2])


@router.get("/v1/groups/{group}/vector/{base}/file", response_class=FileResponse, responses=errors(*OF_JOB))
def offered_file(group: Group, base: Sha256, host: Host) -> FileResponse:
    """The merged vector: a .safetensors file."""
    found = host.jobs.database.offered(group, base)
    if found is None or not (path := vector_file(host.folder, found[0])).is_file():
        raise HTTPException(404, "this group has no vector for that base yet")
    return FileResponse(path, media_type="application/octet-stream")


def _begin_upload(host: HostState, name: str) -> None:
    """
    Raises:
        HTTPException: 409 if this upload is in progress, 503 if there are too many.
    """
    if name in host.uploading:
        raise HTTPException(409, "it is already being uploaded")
    if len(host.uploading) >= host.jobs.limits.uploads:
        raise retry_later(503, "too many concurrent uploads")
    host.uploading.add(name)


def _check_upload(host: HostState, job: Job, offset: int) -> int:
    """The number of bytes received so far.

    Raises:
        HTTPException: 409 if it is not the offset.
        StorageError: the disk has no space for the rest.
    """
    received = host.jobs.received(job)
    if offset != received:
        raise HTTPException(409, f"the host has {received} bytes")
    host.jobs.disk.require(job.request["dataset"]["bytes"] - received)
    return received


def _is_wanted(host: HostState, name: str, device: Device) -> Callable[[], Awaitable[bool]]:
    """Returns a function that says whether an upload may continue: not cancelled, the device's token not revoked."""
    checked_at, is_revoked = -POLL_S, False

    async def ask() -> bool:
        nonlocal checked_at, is_revoked
        if name not in host.uploading or is_revoked:
            return False
        if time.monotonic() - checked_at >= POLL_S:  # not for each of the many chunks of a large upload
            checked_at = time.monotonic()
            is_revoked = await run_in_threadpool(host.jobs.database.is_revoked, device.id)
        return not is_revoked

    return ask


def _current_status(host: HostState, job: Job) -> JobStatus:
    return _status(host, host.jobs.database.job(job.id) or job)


def _status_unless_revoked(host: HostState, job: Job, device: Device) -> JobStatus | None:
    """The present state of a job; None if it was removed, or its device's token was revoked."""
    now = host.jobs.database.job(job.id)
    return None if now is None or host.jobs.database.is_revoked(device.id) else _status(host, now)


def _status(host: HostState, job: Job) -> JobStatus:
    jobs = host.jobs
    return JobStatus(
        id=job.id,
        key=job.key,
        state=job.state,
        place=jobs.database.queue_position(job) if job.state == "queued" else 0,
        received=jobs.received(job),
        bytes=job.request["dataset"]["bytes"],
        progress=jobs.progress(job) if job.state == "running" else None,
        error=job.error,
        statement=job.statement,
        signature=job.signature,
        result=dict(job.result) if job.result else None,
        created=job.created,
    )


def make_api(host_state: HostState) -> FastAPI:
    """The application; jobs are processed from its start to its shutdown."""

    @asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(host_state.jobs.start)
        yield
        await run_in_threadpool(host_state.jobs.stop)

    api = FastAPI(title="asr-edge host", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    api.state.host_state = host_state
    api.include_router(router)
    api.add_middleware(JsonBodies, limit=host_state.jobs.limits.json_bytes)
    if host_state.allows_anonymous:  # prevents DNS rebinding by a page in a browser
        api.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]"])
    api.add_middleware(ReportRequests, report=log_request)
    add_error_handlers(api)
    return api
