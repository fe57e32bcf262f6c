"""The host's HTTP interface. It parses requests, authenticates devices, calls `Jobs` and the database, and answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Header, HTTPException, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware

from editing.errors import AsrEdgeError, StorageError
from trainer.host.auth import Group, Host, Hosting, OwnJob, Who, later
from trainer.host.contributions import file_of, incoming, receive
from trainer.host.database import OPEN, Job, State
from trainer.host.metrics import JobMetrics
from trainer.host.schemas import TrainingRequest
from trainer.host.uploads import BodyLimit, append

EVENT_S = 0.5
ALIVE_S = 15.0  # an event is sent at least so often: a silent connection may be a dead one

Sha256 = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{64}$")]
router = APIRouter()


class JobStatus(BaseModel):
    """Where a job is.

    Attributes:
        place: how many jobs are before it.
        received: bytes of the dataset that are here, of `bytes`.
        progress: step, steps, epoch, loss per token and seconds left, while it runs.
        statement, signature: what the host says of the task vector, and that it says so.
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
    """The host's signing key (base64), and its own certificate authority (PEM), if it has one."""

    key: str
    authority: str | None


class Health(BaseModel):
    status: Literal["ok"]
    queued: int
    running: int


class Offer(BaseModel):
    """What the host says of a group's vector, and that it says so."""

    statement: str
    signature: str


_BYTES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/v1/health")
def health(host: Host) -> Health:
    """Whether jobs are being done."""
    if not host.jobs.is_alive():
        raise later(503, "the host is starting, or ending")
    return Health(status="ok", queued=host.jobs.database.count("queued"), running=host.jobs.database.count("running"))


@router.get("/v1/identity")
def identity(host: Host) -> HostIdentity:
    """By which devices know this host again."""
    return HostIdentity(key=host.signer.key, authority=host.signer.authority)


@router.get("/metrics", response_class=Response)
def metrics(_device: Who, host: Host) -> Response:
    """For Prometheus."""
    registry = CollectorRegistry()
    registry.register(JobMetrics(host.jobs))
    return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")


@router.post("/v1/jobs", status_code=201)
def create(wanted: TrainingRequest, device: Who, host: Host, response: Response) -> JobStatus:
    """Asks for a domain to be learnt; the dataset is uploaded next."""
    if wanted.dataset.bytes > host.jobs.limits.archive_bytes:
        raise HTTPException(413, f"a dataset may have {host.jobs.limits.archive_bytes} bytes on this host")
    if not host.jobs.database.has_job(device.id, wanted.key):
        if host.jobs.database.count(*OPEN, device=device.id) >= host.jobs.limits.jobs_of_device:
            raise later(429, f"a device may have {host.jobs.limits.jobs_of_device} jobs at once")
        if host.jobs.database.count(*OPEN) >= host.jobs.limits.jobs:
            raise later(503, "the queue is full")
    # Only what was asked: it is signed, and a device that knows fewer settings compares it with its own.
    request = wanted.model_dump(mode="json", exclude_unset=True)
    job, is_new = host.jobs.database.add_job(device.id, wanted.key, request)
    response.status_code = 201 if is_new else 200
    return _status(host, job)


@router.get("/v1/jobs")
def list_jobs(device: Who, host: Host) -> JobList:
    """The jobs of this device."""
    return JobList(jobs=[_status(host, job) for job in host.jobs.database.jobs(device=device.id)])


@router.get("/v1/jobs/{identity}")
def show(job: OwnJob, host: Host) -> JobStatus:
    """Where a job is."""
    return _status(host, job)


@router.delete("/v1/jobs/{identity}", status_code=204)
def cancel(job: OwnJob, host: Host) -> None:
    """Ends a job, and removes all there is of it."""
    host.jobs.cancel(job)


@router.patch("/v1/jobs/{identity}/dataset", openapi_extra=_BYTES)
async def upload(job: OwnJob, host: Host, request: Request, upload_offset: Annotated[int, Header(ge=0)]) -> JobStatus:
    """Goes on with the upload of a dataset: bytes from an offset, which must be what `received` says."""
    if job.state != "uploading":
        return _status(host, job)  # it has come already: sent twice, or the answer was lost
    if job.id in host.uploading:
        raise HTTPException(409, "the dataset is being uploaded already")
    if len(host.uploading) >= host.jobs.limits.uploads:
        raise later(503, "too many uploads at once")
    host.uploading.add(job.id)
    try:
        if upload_offset != (received := host.jobs.received(job)):
            raise HTTPException(409, f"{received} bytes are here")
        path = host.jobs.archive(job)
        room = job.request["dataset"]["bytes"] - received
        received += await append(request, path, room, host.jobs.limits.silence_s)
        if received == job.request["dataset"]["bytes"]:
            await run_in_threadpool(host.jobs.received_all, job)
    finally:
        host.uploading.discard(job.id)
    return _status(host, host.jobs.database.job(job.id) or job)


@router.get("/v1/jobs/{identity}/events", response_class=EventSourceResponse)
async def events(job: OwnJob, host: Host) -> AsyncIterator[ServerSentEvent]:
    """Where a job is, whenever that changes, until it has ended."""
    last, sent = None, 0.0
    while True:
        now = host.jobs.database.job(job.id)
        if now is None:
            return
        status = _status(host, now)
        if status != last or time.monotonic() - sent > ALIVE_S:
            last, sent = status, time.monotonic()
            yield ServerSentEvent(data=status)
        if now.state not in OPEN:
            return
        await asyncio.sleep(EVENT_S)


@router.get("/v1/jobs/{identity}/task-vector", response_class=FileResponse)
def task_vector(job: OwnJob, host: Host) -> FileResponse:
    """What was learnt: a .safetensors file."""
    path = host.jobs.vector(job)
    if path is None:
        raise HTTPException(409 if job.state in OPEN else 410, f"there is no task vector; the job is {job.state}")
    return FileResponse(path, media_type="application/octet-stream")


@router.put("/v1/groups/{group}/contributions/{vector}", status_code=201, openapi_extra=_BYTES)
async def contribute(group: Group, vector: Sha256, device: Who, host: Host, request: Request) -> dict[str, str]:
    """Gives a task vector to a group; the name is its SHA-256."""
    temporary = incoming(host.folder, device.id)
    try:
        size = await append(request, temporary, host.jobs.limits.vector_bytes, host.jobs.limits.silence_s)
        if not size:
            raise HTTPException(422, "no bytes came")
        await run_in_threadpool(receive, host.jobs.database, host.folder, device, group, vector, temporary)
    finally:
        temporary.unlink(missing_ok=True)
    return {"vector": vector}


@router.get("/v1/groups/{group}/vector/{base}")
def offered(group: Group, base: Sha256, host: Host) -> Offer:
    """What this group has learnt together, for a base model."""
    found = host.jobs.database.offered(group, base)
    if found is None:
        raise HTTPException(404, "this group has no vector for that base yet")
    return Offer(statement=found[1], signature=found[2])


@router.get("/v1/groups/{group}/vector/{base}/file", response_class=FileResponse)
def offered_file(group: Group, base: Sha256, host: Host) -> FileResponse:
    """The vector itself: a .safetensors file."""
    found = host.jobs.database.offered(group, base)
    if found is None or not (path := file_of(host.folder, found[0])).is_file():
        raise HTTPException(404, "this group has no vector for that base yet")
    return FileResponse(path, media_type="application/octet-stream")


def _status(host: Hosting, job: Job) -> JobStatus:
    jobs = host.jobs
    return JobStatus(
        id=job.id,
        key=job.key,
        state=job.state,
        place=jobs.database.place(job) if job.state == "queued" else 0,
        received=jobs.received(job),
        bytes=job.request["dataset"]["bytes"],
        progress=jobs.progress(job) if job.state == "running" else None,
        error=job.error,
        statement=job.statement,
        signature=job.signature,
        result=dict(job.result) if job.result else None,
        created=job.created,
    )


def _error_response(_request: Request, error: Exception) -> Response:
    """The answer to an error that a device can act on, or must wait for."""
    if isinstance(error, StorageError):  # where is nobody's business
        return JSONResponse({"detail": "the host's disk is full"}, 503, {"Retry-After": "60"})
    return JSONResponse({"detail": str(error)}, 422)


def make_api(hosting: Hosting) -> FastAPI:
    """The application; jobs are done from its start to its end."""

    @asynccontextmanager
    async def life(_api: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(hosting.jobs.start)
        yield
        await run_in_threadpool(hosting.jobs.stop)

    api = FastAPI(title="asr-edge host", version="1", lifespan=life, docs_url=None, redoc_url=None)
    api.state.hosting = hosting
    api.include_router(router)
    api.add_middleware(BodyLimit, limit=hosting.jobs.limits.json_bytes)
    if hosting.is_open:  # a page in a browser must not reach it by a name of its own
        api.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]"])
    api.add_exception_handler(AsrEdgeError, _error_response)
    return api
