"""The process of a task: `python -m device_app.service.page.tasks.work MODEL`, with the model as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from device_app.data.store import Store
from device_app.execution import ExecutionContext, lower_priority
from device_app.extras import need_packages
from device_app.models.bundles import find_bundle
from device_app.models.ledger import Ledger
from device_app.reporter import OnUpdate
from device_app.service.page.tasks.state import Kind, Task, TaskFiles
from editing.errors import AsrEdgeError, BadInputError

WRITE_S = 0.25  # between two writes of the progress


class StoppedError(Exception):
    """The person wants the task to stop."""


class FileReporter:
    """A `device_app.reporter.Reporter` that writes into the state of the task, and stops it when that is asked for."""

    def __init__(self, files: TaskFiles, task: Task) -> None:
        self._files, self._task = files, task
        self._written = 0.0

    def report(self, message: str) -> None:
        self._show(step=message, done=0.0, total=0.0, at_once=True)

    @contextmanager
    def progress(self, label: str, total: float) -> Iterator[Callable[[float], None]]:
        done = 0.0
        self._show(step=label, done=0.0, total=float(total), at_once=True)

        def advance(more: float) -> None:
            nonlocal done
            done += more
            self._show(done=done)

        yield advance

    @contextmanager
    def finetuning(self) -> Iterator[OnUpdate]:
        def show(update: int, updates: int, epoch: int, loss: float) -> None:
            self._show(step="fine-tuning", done=float(update), total=float(updates), epoch=epoch, loss=float(loss))

        yield show

    def _show(self, *, at_once: bool = False, **changes: Any) -> None:
        """
        Raises:
            StoppedError: the task is to stop.
        """
        self._task = replace(self._task, **changes)
        now = time.monotonic()
        if not at_once and now - self._written < WRITE_S:
            return
        self._written = now
        if self._files.is_to_stop:
            raise StoppedError
        self._files.write(self._task)


def run(files: TaskFiles, model: str | None) -> Task:
    """Does the work of the task in the files, and returns the task as it ended, which is also in the files."""
    task = files.read()
    reporter = FileReporter(files, task)
    try:
        if task.kind is None:
            raise BadInputError("there is nothing to do")
        result = WORK[task.kind](Ledger(find_bundle(model)), task.arguments, ExecutionContext(None, reporter))
        ended = replace(task, status="done", result=result)
    except StoppedError:
        ended = replace(task, status="stopped")
    except AsrEdgeError as error:
        ended = replace(task, status="failed", error=str(error))
    except Exception as error:
        files.write(replace(task, status="failed", error=f"{type(error).__name__}; {files.folder}/task.log says where"))
        raise
    files.write(ended)
    files.forget_stop()
    return ended


def _learn(ledger: Ledger, arguments: Mapping[str, Any], context: ExecutionContext) -> dict[str, Any]:
    from device_app.adaptation.adapt import adapt
    from device_app.adaptation.local_training import LocalFineTuning
    from device_app.adaptation.settings import AdaptationSettings

    need_packages("train", "learning")
    settings = AdaptationSettings(domain=arguments["domain"])
    finetune = LocalFineTuning(arguments.get("settings", {}), context.reporter)
    with Store() as store, ledger.changing():
        outcome = adapt(store, ledger, settings, finetune, context)
        finetune.remove_checkpoint()
    return outcome.record()


def _reweight(ledger: Ledger, arguments: Mapping[str, Any], context: ExecutionContext) -> dict[str, Any]:
    return _reweighted(ledger, arguments, context, dry_run=False)


def _preview(ledger: Ledger, arguments: Mapping[str, Any], context: ExecutionContext) -> dict[str, Any]:
    return _reweighted(ledger, arguments, context, dry_run=True)


def _reweighted(
    ledger: Ledger, arguments: Mapping[str, Any], context: ExecutionContext, *, dry_run: bool
) -> dict[str, Any]:
    from device_app.adaptation.decision import reweight
    from device_app.adaptation.settings import GatePolicy

    gate = GatePolicy(dry_run=dry_run)
    merge = {"lam": arguments["lam"]} if "lam" in arguments else {}
    with Store() as store, ledger.changing():
        return reweight(store, ledger, arguments["edit"], merge, gate, context).record()


def _revert(ledger: Ledger, arguments: Mapping[str, Any], context: ExecutionContext) -> dict[str, Any]:
    from device_app.adaptation.decision import revert

    context.reporter.report("reverting")
    with ledger.changing():
        return {"version": revert(ledger, arguments["edit"]).id}


def _measure(ledger: Ledger, _arguments: Mapping[str, Any], context: ExecutionContext) -> dict[str, Any]:
    from device_app.adaptation.history import measure_versions

    with Store() as store, ledger.changing():
        domains, versions = measure_versions(store, ledger, context)
    return {"domains": domains, "versions": len(versions)}


WORK: Mapping[Kind, Callable[[Ledger, Mapping[str, Any], ExecutionContext], dict[str, Any]]] = {
    "learn": _learn,
    "preview": _preview,
    "reweight": _reweight,
    "revert": _revert,
    "measure": _measure,
}


def main() -> None:
    """Runs the task of the active profile. The lock is a descriptor that this process has inherited."""
    lower_priority()
    run(TaskFiles(), json.loads(sys.argv[1]))


if __name__ == "__main__":
    main()
