"""GET /health and GET /metrics: whether the service answers, and what it has served."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from device_app.paths import data_folder
from device_app.remote.trusted_hosts import is_loopback
from device_app.service.clients import folder_mark
from device_app.service.state import Service

router = APIRouter()


class Health(BaseModel):
    """What `/health` answers.

    `jobs` is the number of requests and live connections in progress. `data_folder` and `model` are
    the `folder_mark` of the data folder and of the model, for programs of this machine only.
    """

    status: Literal["ok"] = "ok"
    jobs: int
    data_folder: str | None = None
    model: str | None = None


@router.get("/health")
async def health(service: Service, request: Request) -> Health:
    """Whether the service answers. Needs no token."""
    jobs = service.turns.jobs
    if request.client is None or not is_loopback(request.client.host):
        return Health(jobs=jobs)
    return Health(jobs=jobs, data_folder=folder_mark(data_folder()), model=folder_mark(service.models.folder))


@router.get("/metrics", response_class=Response)
async def metrics(service: Service) -> Response:
    """The metrics for Prometheus."""
    text = service.metrics.text(service.turns.jobs, service.turns.waiting)
    return Response(text, media_type="text/plain; version=0.0.4")
