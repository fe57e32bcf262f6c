"""The ASGI application of the service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool

from device_app.service import monitoring
from device_app.service.errors import ServiceError, add_error_handlers, as_service_error, error_response
from device_app.service.http.bodies import LimitBodies
from device_app.service.http.logs import log_request
from device_app.service.http.requests import ReportRequests
from device_app.service.http.shutdown import AnswerCancelled
from device_app.service.live import websocket
from device_app.service.openai import models, transcriptions
from device_app.service.page import routes as page
from device_app.service.security import Access, Guard
from device_app.service.state import ServiceState
from device_app.service.turns import StoppingError

ROUTERS: tuple[APIRouter, ...] = (
    *(monitoring.router, models.router, transcriptions.router, websocket.router),
    *page.ROUTERS,
)
UPLOADS = frozenset({"/v1/audio/transcriptions"}) | page.UPLOADS  # paths whose bodies are recordings
PUBLIC = frozenset({"/health"}) | page.PUBLIC  # paths that need no token; see `Access.public`


def make_app(state: ServiceState, access: Access) -> FastAPI:
    """The application, which owns the state: it loads the default model when it starts and closes the state at its end.

    Args:
        state: shared by all requests.
        access: who may use it.
    """

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(state.models.get)  # an error of the default model ends the service at its start
        yield
        await run_in_threadpool(state.close)

    app = FastAPI(title="asr-edge", version="1", lifespan=life, docs_url=None, redoc_url=None)
    app.state.service = state
    for router in ROUTERS:
        app.include_router(router)
    add_error_handlers(app)
    limits = state.limits
    app.add_middleware(
        LimitBodies,
        limit=lambda path: limits.upload_bytes if path in UPLOADS else limits.body_bytes,
        idle_s=limits.body_idle_s,
        refusal=lambda status, reason: error_response(ServiceError(status, reason)),
    )
    app.add_middleware(Guard, access=access)
    app.add_middleware(AnswerCancelled, refusal=lambda: error_response(as_service_error(StoppingError())))
    app.add_middleware(ReportRequests, report=state.metrics.count_request)
    app.add_middleware(ReportRequests, report=log_request)
    return app
