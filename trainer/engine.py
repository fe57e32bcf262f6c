"""Where independent pieces of work run: one after another here, or as tasks of a Ray cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from editing.errors import AsrEdgeError, BadInputError, MissingDependencyError, TrainingError

CONNECT_S = 5.0
CPUS = 2  # of a task: more hardly speed up models this small


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


class Engine(Protocol):
    """Runs tasks."""

    def run(self, tasks: Sequence[Task], tell: Callable[[str], None]) -> None:
        """Returns when all are done.

        Raises:
            AsrEdgeError: a task failed; what others have done is kept.
        """
        ...


class Local:
    """In this process, one after another."""

    def run(self, tasks: Sequence[Task], tell: Callable[[str], None]) -> None:
        for number, task in enumerate(tasks, 1):
            tell(f"{task.name} ({number} of {len(tasks)})")
            task.function(*task.arguments)


def _check_reachable(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=CONNECT_S):
            return
    except (OSError, ValueError) as error:
        raise BadInputError(f"no Ray cluster at {address} ({error}); 'ray start --head' starts one") from error


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

    def run(self, tasks: Sequence[Task], tell: Callable[[str], None]) -> None:
        """Failed workers' tasks are started again, where they go on with what they left."""
        ray = self._ray
        cpus = min(CPUS, int(ray.cluster_resources().get("CPU", 1)))
        home = os.environ.get("ASR_EDGE_HOME")
        options: dict[str, Any] = {"num_cpus": cpus, "max_retries": 3}
        if home:
            options["runtime_env"] = {"env_vars": {"ASR_EDGE_HOME": home}}
        started = {
            ray.remote(task.function).options(name=task.name, **options).remote(*task.arguments): task for task in tasks
        }
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
