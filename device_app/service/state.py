"""The state that all requests share, and how a route gets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from device_app.service.limits import Limits
from device_app.service.models import NAME, Loaded, Models
from device_app.service.turns import Turns

Result = TypeVar("Result")


@dataclass
class ServiceState:
    """
    Attributes:
        models: the models of the profiles.
        turns: runs what needs the CPU.
        limits: of requests.
    """

    models: Models
    turns: Turns
    limits: Limits

    async def model(self, name: str = NAME) -> Loaded:
        """The model of this name, which is loaded if it is not in memory.

        Raises:
            UnknownModelError: there is no such model.
            AsrEdgeError: it cannot be loaded.
        """
        return await run_in_threadpool(self.models.get, name)

    @contextmanager
    def job(self, client: str) -> Iterator[Job]:
        """Takes a place for a request or a live connection that needs the CPU.

        Raises:
            BusyError: there is none.
        """
        with self.turns.job(client):
            yield Job(self.turns, client)


@dataclass(frozen=True)
class Job:
    """A request or live connection that has its place."""

    turns: Turns
    client: str

    async def run(self, step: Callable[[], Result]) -> Result:
        """Runs a step when it is the client's turn. A step should take a second at most; see `Turns`."""
        return await self.turns.run(self.client, step)


def _state(connection: HTTPConnection) -> ServiceState:
    found: ServiceState = connection.app.state.service
    return found


def _client(connection: HTTPConnection) -> str:
    return str(connection.scope["asr_edge.client"])


Service = Annotated[ServiceState, Depends(_state)]
Client = Annotated[str, Depends(_client)]
