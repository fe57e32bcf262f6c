"""Run independent tasks: one after another on this machine, or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from device_app.extras import how_to_install
from editing.errors import AsrEdgeError, BadInputError, MissingDependencyError, TrainingError, first_line

CONNECT_S = 5.0  # within which a Ray cluster must answer
CPUS_PER_TASK = 2  # more hardly speed up models this small
SUBMITTED_PER_RUNNING_TASK = 4  # tasks that are submitted to Ray for each one that its CPUs can run at once
KILL_S = 10.0  # after which a killed process is not waited for any longer


@dataclass(frozen=True)
class Task:
    """A function call that depends on no other task and writes its result to files.

    Attributes:
        name: shown in messages.
        function: a module-level function, so that another process can import it.
        arguments: picklable; only Ray pickles them, and only within the cluster.
    """

    name: str
    function: Callable[..., None]
    arguments: tuple[Any, ...]


class RunningTask(Protocol):
    """A task that has been started."""

    def has_finished(self) -> bool:
        """Whether the task has ended. Its files show whether it succeeded."""
        ...

    def cancel(self) -> None:
        """Kills the task."""
        ...


class Executor(Protocol):
    """Runs tasks: starts a single one, or runs several and waits for them.

    Attributes:
        slots: how many tasks may be started at once.
    """

    @property
    def slots(self) -> int: ...

    def start(self, task: Task) -> RunningTask:
        """Starts a task in its own process, which ends when this process ends."""
        ...

    def run(self, tasks: Sequence[Task], report: Callable[[str], None]) -> None:
        """Runs all tasks and returns when they have finished.

        Args:
            tasks: they may run in any order.
            report: receives progress messages.

        Raises:
            AsrEdgeError: a task failed; the results of the others are kept.
        """
        ...


class _Process:
    def __init__(self, process: multiprocessing.process.BaseProcess) -> None:
        self._process = process

    def has_finished(self) -> bool:
        return not self._process.is_alive()

    def cancel(self) -> None:
        self._process.kill()
        self._process.join(KILL_S)


class LocalExecutor:
    """Runs tasks on this machine, one after another."""

    slots = 1

    def start(self, task: Task) -> RunningTask:
        context = multiprocessing.get_context("spawn")
        process = context.Process(
            target=_run_in_child, args=(task.function, task.arguments), name=task.name, daemon=True
        )
        process.start()
        return _Process(process)

    def run(self, tasks: Sequence[Task], report: Callable[[str], None]) -> None:
        for number, task in enumerate(tasks, 1):
            report(f"{task.name} ({number} of {len(tasks)})")
            task.function(*task.arguments)


def _run_in_child(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Runs a task in a child process, at low priority; exits when the parent process exits."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def exit_with_parent() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True).start()
    os.nice(5)
    function(*arguments)


def _check_reachable(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=CONNECT_S):
            return
    except (OSError, ValueError) as error:
        raise BadInputError(f"no Ray cluster at {address} ({error}); 'ray start --head' starts one") from error


class _RayTask:
    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self._reference = ray, reference

    def has_finished(self) -> bool:
        ready, _ = self._ray.wait([self._reference], timeout=0)
        return bool(ready)

    def cancel(self) -> None:
        self._ray.cancel(self._reference, force=True)


class RayExecutor:
    """Runs tasks on a Ray cluster whose nodes share the files that the tasks read and write.

    `run` leaves the cluster at its end, so it can be called only once.
    """

    def __init__(self, address: str | None = None) -> None:
        """
        Args:
            address: a running cluster; None starts a cluster on this machine, which ends with this process.

        Raises:
            MissingDependencyError: Ray is not installed.
            BadInputError: no cluster answers at that address.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends no usage statistics
        # A task without a GPU keeps CUDA_VISIBLE_DEVICES as it is. Ray announces this as a later default, in a warning.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # Ray reads its token when it is imported. Without a token, anyone who reaches a port of the
        # cluster can run code there.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if address is None:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        try:
            import ray
        except ImportError:
            raise MissingDependencyError(
                f"--engine ray needs Ray, which is not installed: {how_to_install('cluster')}, or omit --engine"
            ) from None
        self._ray = ray
        if address is not None:
            _check_reachable(address)  # Ray itself would retry for minutes
        try:
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError) as error:
            raise BadInputError(f"no Ray cluster at {address}: {error}") from error

    @property
    def slots(self) -> int:
        """More than can run at once, because Ray queues tasks itself."""
        return SUBMITTED_PER_RUNNING_TASK * max(1, int(self._ray.cluster_resources().get("CPU", 1)) // CPUS_PER_TASK)

    def start(self, task: Task) -> RunningTask:
        return _RayTask(self._ray, self._submit(task))

    def _submit(self, task: Task) -> Any:
        """Submits a task. Ray restarts it if its worker dies or is preempted; the task resumes from its own files."""
        resources = self._ray.cluster_resources()
        options: dict[str, Any] = {
            "num_cpus": min(CPUS_PER_TASK, int(resources.get("CPU", 1))),
            "num_gpus": min(1, int(resources.get("GPU", 0))),
            "max_retries": 3,
        }
        home = os.environ.get("ASR_EDGE_HOME")
        if home:
            options["runtime_env"] = {"env_vars": {"ASR_EDGE_HOME": home}}
        return self._ray.remote(task.function).options(name=task.name, **options).remote(*task.arguments)

    def run(self, tasks: Sequence[Task], report: Callable[[str], None]) -> None:
        ray = self._ray
        started = {self._submit(task): task for task in tasks}
        failure: AsrEdgeError | None = None
        try:
            while started:
                (done, *_), _ = ray.wait(list(started))
                task = started.pop(done)
                try:
                    ray.get(done)
                    report(f"{task.name} is done, {len(started)} left")
                except ray.exceptions.RayTaskError as error:
                    lines = str(error.cause).strip().splitlines() or [type(error.cause).__name__]
                    failure = failure or TrainingError(f"{task.name}: {lines[-1]}")
                    report(f"{task.name} failed; the other tasks continue")
                except ray.exceptions.RayError as error:
                    failure = failure or TrainingError(f"{task.name}: {first_line(error)}")
        finally:
            ray.shutdown()
        if failure is not None:
            raise failure
