"""Where independent pieces of work run: one after another here, or as tasks of a Ray cluster."""

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

from editing.errors import AsrEdgeError, BadInputError, MissingDependencyError, TrainingError

CONNECT_S = 5.0
CPUS = 2  # of a task: more hardly speed up models this small
QUEUED = 4  # tasks that Ray is given for each that can run


@dataclass(frozen=True)
class Task:
    """A call that depends on no other and leaves its result in files.

    Attributes:
        name: for people.
        function: of a module, so that another process can import it.
        arguments: that can be pickled by Ray, within the cluster and nowhere else.
    """

    name: str
    function: Callable[..., None]
    arguments: tuple[Any, ...]


class Running(Protocol):
    """A task that was started."""

    def has_ended(self) -> bool:
        """Whether it has, well or badly; what it left in files tells which."""
        ...

    def cancel(self) -> None:
        """Ends it now."""
        ...


class Engine(Protocol):
    """Runs tasks: all of them and waits, or one by one.

    Attributes:
        slots: how many can run at once.
    """

    @property
    def slots(self) -> int: ...

    def start(self, task: Task) -> Running:
        """Starts a task in a process of its own, which does not outlive this one."""
        ...

    def run(self, tasks: Sequence[Task], tell: Callable[[str], None]) -> None:
        """Returns when all are done.

        Args:
            tasks: in any order.
            tell: receives messages about progress.

        Raises:
            AsrEdgeError: a task failed; what others have done is kept.
        """
        ...


class _Process:
    def __init__(self, process: multiprocessing.process.BaseProcess) -> None:
        self._process = process

    def has_ended(self) -> bool:
        return not self._process.is_alive()

    def cancel(self) -> None:
        self._process.kill()
        self._process.join(10.0)


class Local:
    """On this machine, one after another."""

    slots = 1

    def start(self, task: Task) -> Running:
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_alone, args=(task.function, task.arguments), name=task.name, daemon=True)
        process.start()
        return _Process(process)

    def run(self, tasks: Sequence[Task], tell: Callable[[str], None]) -> None:
        for number, task in enumerate(tasks, 1):
            tell(f"{task.name} ({number} of {len(tasks)})")
            task.function(*task.arguments)


def _alone(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Runs a task in a process that was made for it, behind everything else, for as long as its parent lives."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
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

    def has_ended(self) -> bool:
        ready, _ = self._ray.wait([self._reference], timeout=0)
        return bool(ready)

    def cancel(self) -> None:
        self._ray.cancel(self._reference, force=True)


class Ray:
    """As tasks of a Ray cluster whose nodes share the files that tasks read and write."""

    def __init__(self, address: str | None = None) -> None:
        """
        Args:
            address: of a running cluster; None starts one on this machine for as long as it is needed.

        Raises:
            MissingDependencyError: Ray is not installed.
            BadInputError: there is no cluster at that address.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # Ray's own token, which it reads when it is imported: without it, whoever reaches a port of
        # the cluster runs code there.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if address is None:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        try:
            import ray
        except ImportError:
            raise MissingDependencyError(
                "Ray is not installed: pip install 'asr-edge[cluster]', or leave --engine away"
            ) from None
        self._ray = ray
        if address is not None:
            _check_reachable(address)  # Ray itself would try for minutes
        try:
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError) as error:
            raise BadInputError(f"no Ray cluster at {address}: {error}") from error

    @property
    def slots(self) -> int:
        """Ray has a queue of its own, so that it may have more than can run."""
        return QUEUED * max(1, int(self._ray.cluster_resources().get("CPU", 1)) // CPUS)

    def start(self, task: Task) -> Running:
        return _RayTask(self._ray, self._submit(task))

    def _submit(self, task: Task) -> Any:
        """A task whose worker dies, or is preempted, is started again, where it goes on with what it left."""
        resources = self._ray.cluster_resources()
        options: dict[str, Any] = {
            "num_cpus": min(CPUS, int(resources.get("CPU", 1))),
            "num_gpus": min(1, int(resources.get("GPU", 0))),
            "max_retries": 3,
        }
        home = os.environ.get("ASR_EDGE_HOME")
        if home:
            options["runtime_env"] = {"env_vars": {"ASR_EDGE_HOME": home}}
        return self._ray.remote(task.function).options(name=task.name, **options).remote(*task.arguments)

    def run(self, tasks: Sequence[Task], tell: Callable[[str], None]) -> None:
        ray = self._ray
        started = {self._submit(task): task for task in tasks}
        failure: AsrEdgeError | None = None
        try:
            while started:
                (done, *_), _ = ray.wait(list(started))
                task = started.pop(done)
                try:
                    ray.get(done)
                    tell(f"{task.name} is done, {len(started)} to go")
                except ray.exceptions.RayTaskError as error:
                    cause = error.as_instanceof_cause()
                    said = str(cause.args[0] if cause.args else cause).strip().splitlines()[-1]
                    failure = failure or TrainingError(f"{task.name}: {said}")
                    tell(f"{task.name} failed; the others go on")
                except ray.exceptions.RayError as error:
                    failure = failure or TrainingError(f"{task.name}: {str(error).splitlines()[0]}")
        finally:
            ray.shutdown()
        if failure is not None:
            raise failure
