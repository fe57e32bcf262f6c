"""GET /health: whether the service answers."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from device_app.service.state import Service

router = APIRouter()


class Health(BaseModel):
    """The service answers; `jobs` is the number of requests and live connections."""

    status: Literal["ok"] = "ok"
    jobs: int


@router.get("/health")
async def health(service: Service) -> Health:
    """Whether the service answers. Needs no token."""
    return Health(jobs=service.turns.jobs)
