"""GET /v1/models: the profiles of this machine."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from device_app.service.models import NAME, UnknownModelError
from device_app.service.state import Service

router = APIRouter()


class Model(BaseModel):
    """A profile with its active version, in the shape of OpenAI's models."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = NAME


class ModelList(BaseModel):
    """All models."""

    object: str = "list"
    data: list[Model]


@router.get("/v1/models")
async def models(service: Service) -> ModelList:
    """The models: "asr-edge", and "asr-edge:NAME" for each profile."""
    return ModelList(data=[Model(id=name) for name in await run_in_threadpool(service.models.names)])


@router.get("/v1/models/{name}")
async def model(name: str, service: Service) -> Model:
    """One model.

    Raises:
        UnknownModelError: there is none of this name.
    """
    names = await run_in_threadpool(service.models.names)
    if name not in names:  # a transcription takes "whisper-1" too, but there is no such model
        raise UnknownModelError.of(name, names)
    return Model(id=name, owned_by=name.partition(":")[2] or NAME)
