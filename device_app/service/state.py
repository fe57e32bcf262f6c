"""The state that all requests share, and how a route gets it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from device_app.data.terms import Term
from device_app.recognition.results import Transcript
from device_app.recognition.transcriber import Transcriber
from device_app.service.limits import Limits
from device_app.service.metrics import Metrics
from device_app.service.models import NAME, Loaded, Models
from device_app.service.turns import BusyError, Turns

Result = TypeVar("Result")


@dataclass
class ServiceState:
    """What all requests share.

    Attributes:
        models: the models of the profiles.
        turns: runs what needs the CPU.
        limits: the limits of requests.
        metrics: counts what is served.
        stopping: is set when the service stops; live connections then end with the text of what was said.
    """

    models: Models
    turns: Turns
    limits: Limits
    metrics: Metrics = field(default_factory=Metrics)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _receiving: int = 0
    _live: int = 0

    async def model(self, name: str = NAME) -> Loaded:
        """The model of this name, which is loaded if it is not in memory.

        Raises:
            UnknownModelError: there is no such model.
            AsrEdgeError: it cannot be loaded.
        """
        return await run_in_threadpool(self.models.get, name)

    async def transcriber(self, loaded: Loaded, keyterms: Sequence[Term] = ()) -> Transcriber:
        """The model's transcriber with further keyterms. Their index is made in a thread, because that takes time."""
        if not keyterms:
            return loaded.transcriber
        return await run_in_threadpool(loaded.transcriber.with_keyterms, keyterms)

    async def count(self, loaded: Loaded, transcript: Transcript) -> None:
        """Counts what was recognised: seconds of audio in the metrics, and matches of the owner's terms."""
        self.metrics.audio_s.inc(transcript.duration_s)
        if any(segment.terms for segment in transcript.segments):
            await run_in_threadpool(loaded.term_counts.add, transcript.segments)

    def close(self) -> None:
        """Ends the threads, and writes what is kept in memory."""
        self.turns.close()
        self.models.close()

    @contextmanager
    def receiving(self, client: str) -> Iterator[None]:
        """Takes a place for the upload of a recording; refuses it before it is read if there will be no place to work.

        Raises:
            BusyError: there is no place.
        """
        with self.turns.job(client):  # released at once: a slow upload must not hold a place that another job can use
            pass
        if self._receiving >= self.limits.uploads:
            raise BusyError(is_of_client=False)
        self._receiving += 1
        try:
            yield
        finally:
            self._receiving -= 1

    @contextmanager
    def live(self, client: str) -> Iterator[Job]:
        """Takes a place for a live connection.

        Raises:
            BusyError: there is none.
        """
        if self._live >= self.limits.live:
            raise BusyError(is_of_client=False)
        self._live += 1
        try:
            with self.job(client) as job:
                yield job
        finally:
            self._live -= 1

    async def unless_stopping(self, work: Coroutine[Any, Any, Result]) -> Result | None:
        """Awaits work; returns None, and cancels it, if the service stops before it is done."""
        working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            working.cancel()
            stopping.cancel()

    async def wait_for_live(self, seconds: float) -> None:
        """Waits until no live connection is left, at most `seconds`."""
        end = asyncio.get_running_loop().time() + seconds
        while self._live and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)

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
    """A request or live connection that has its place; see `device_app.service.turns`.

    Attributes:
        turns: runs its steps.
        client: the name of the client, or its address and port, as `security.Guard` finds it.
    """

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


# Types of a route's parameters, by which FastAPI passes the state of the service, and the client that asks.
Service = Annotated[ServiceState, Depends(_state)]
Client = Annotated[str, Depends(_client)]
