"""GET /health and GET /metrics: whether the service answers, and what it has served."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from device_app.service.state import Service

router = APIRouter()


class Health(BaseModel):
    """The service answers; `jobs` is the number of requests and live connections in progress."""

    status: Literal["ok"] = "ok"
    jobs: int


@router.get("/health")
async def health(service: Service) -> Health:
    """Whether the service answers. Needs no token."""
    return Health(jobs=service.turns.jobs)


@router.get("/metrics", response_class=Response)
async def metrics(service: Service) -> Response:
    """The metrics for Prometheus."""
    text = service.metrics.text(service.turns.jobs, service.turns.waiting)
    return Response(text, media_type="text/plain; version=0.0.4")
