"""Shares the CPU between clients: a bounded number of jobs, which take turns of short steps.

A job is a request or a live connection. Its work is done in steps, such as the recognition of one segment, so a long
recording of one client delays the command of another by one step only.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

Result = TypeVar("Result")


class BusyError(Exception):
    """There is no place for another job.

    Attributes:
        is_of_client: whether this client has too many jobs; otherwise all clients together have.
        code: the name of the error for programs.
    """

    def __init__(self, *, is_of_client: bool) -> None:
        super().__init__("this client has too many requests at once" if is_of_client else "the service is busy")
        self.is_of_client = is_of_client
        self.code = "too_many_requests" if is_of_client else "busy"


class StoppingError(Exception):
    """The service stops, and does not wait for this job any longer.

    Attributes:
        code: the name of the error for programs.
    """

    def __init__(self) -> None:
        super().__init__("the service is stopping")
        self.code = "stopping"


class Turns:
    """Runs steps in a fixed number of threads; clients with waiting steps take turns.

    All methods are called in the thread of the event loop.

    Attributes:
        threads: the number of threads.
    """

    def __init__(self, threads: int, jobs: int, jobs_of_client: int) -> None:
        """
        Args:
            threads: steps at a time.
            jobs: limit of jobs in total.
            jobs_of_client: limit of jobs of one client.
        """
        self.threads = threads
        self._limit, self._limit_of_client = jobs, jobs_of_client
        self._jobs: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(threads, "asr-edge-service")
        self._running: set[asyncio.Future[Any]] = set()
        self._is_stopped = False
        # The waiting steps of each client, with the futures of their results; the next client first.
        self._waiting: dict[str, deque[tuple[asyncio.Future[Any], Callable[[], Any]]]] = {}

    @property
    def jobs(self) -> int:
        """The number of jobs."""
        return self._jobs.total()

    @property
    def waiting(self) -> int:
        """The number of steps that wait for a thread."""
        return sum(map(len, self._waiting.values()))

    @contextmanager
    def job(self, client: str) -> Iterator[None]:
        """Takes a place for a job of a client.

        Raises:
            BusyError: there is none.
        """
        if self._jobs[client] >= self._limit_of_client:
            raise BusyError(is_of_client=True)
        if self.jobs >= self._limit:
            raise BusyError(is_of_client=False)
        self._jobs[client] += 1
        try:
            yield
        finally:
            self._jobs[client] -= 1
            if not self._jobs[client]:
                del self._jobs[client]

    async def run(self, client: str, step: Callable[[], Result]) -> Result:
        """Runs a step in a thread when it is the client's turn; returns its result or raises its exception.

        If the caller is cancelled, a step that has not started is dropped.

        Raises:
            StoppingError: `stop` was called.
        """
        if self._is_stopped:
            raise StoppingError
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append((future, step))
        self._start()
        return await future

    def stop(self) -> None:
        """Ends all jobs: steps that wait or run, and all later ones, raise a `StoppingError`."""
        self._is_stopped = True
        waiting = [future for steps in self._waiting.values() for future, _ in steps]
        self._waiting.clear()
        for future in (*waiting, *self._running):
            if not future.done():
                future.set_exception(StoppingError())

    def close(self) -> None:
        """Ends the threads. Waits until the running steps have ended."""
        self._pool.shutdown(cancel_futures=True)

    def _start(self) -> None:
        """Starts waiting steps while threads are free."""
        while len(self._running) < self.threads and self._waiting:
            client, steps = next(iter(self._waiting.items()))
            del self._waiting[client]
            future, step = steps.popleft()
            if steps:
                self._waiting[client] = steps  # behind all other clients
            if future.cancelled():
                continue
            self._running.add(future)
            running = asyncio.get_running_loop().run_in_executor(self._pool, step)
            running.add_done_callback(partial(self._ended, future))

    def _ended(self, future: asyncio.Future[Any], running: asyncio.Future[Any]) -> None:
        """Passes the result of a step on to its caller's future, unless that was cancelled or stopped before."""
        self._running.discard(future)
        error = None if running.cancelled() else running.exception()
        if running.cancelled():
            future.cancel()
        elif not future.done():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(running.result())
        self._start()
