"""The process of a task: `python -m device_app.service.page.tasks.work MODEL`, with the model as JSON."""

from __future__ import annotations

import json
import signal
import sys
import threading
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
from device_app.service.page.tasks.plan import Plan
from device_app.service.page.tasks.state import Kind, Task, TaskFiles
from editing.errors import AsrEdgeError, BadInputError

WRITE_S = 0.25  # at least, between two writes of the progress
RATE_S = 2.0  # in which the rate of a step is measured before it is believed
POLL_S = 0.5  # between two checks whether to stop, while a fine-tuning prepares and reports nothing
# `retired_terms.CHECKING`, a step after the change: to stop there would not undo it. Importing that takes a second.
AFTER_CHANGE = "checking corrected words"


class StoppedError(Exception):
    """The person has asked the task to stop."""


class FileReporter:
    """A `device_app.reporter.Reporter` that writes into the state of the task.

    Its methods raise StoppedError when the person has asked the task to stop.
    """

    def __init__(self, files: TaskFiles, task: Task) -> None:
        self._files, self._task = files, task
        self._written = 0.0
        self.plan: Plan | None = None  # of a task whose whole duration can be told

    def report(self, message: str) -> None:
        self._write(step=message, done=0.0, total=0.0, left_s=None)

    @contextmanager
    def progress(self, label: str, total: float) -> Iterator[Callable[[float], None]]:
        done, began = 0.0, time.monotonic()
        self._show(step=label, done=0.0, total=float(total), left_s=None, at_once=True)

        def advance(more: float) -> None:
            nonlocal done
            done += more
            self._show(done=done, left_s=_left_s(began, done, total))

        yield advance
        self._write(total=0.0, left_s=None)  # what follows, such as baking, has no figures

    @contextmanager
    def finetuning(self) -> Iterator[OnUpdate]:
        began, first = time.monotonic(), 0  # `first`: the update at which this process begins; not 1 if it continues

        def show(update: int, updates: int, epoch: int, loss: float) -> None:
            nonlocal began, first
            if not first:
                began, first = time.monotonic(), update
            left_s = _left_s(began, update - first, updates - first)
            done, total = float(update), float(updates)
            self._show(step="fine-tuning", done=done, total=total, left_s=left_s, epoch=epoch, loss=float(loss))

        with self._stopping_at_any_moment():
            yield show
        self._write(total=0.0, left_s=None)

    @contextmanager
    def _stopping_at_any_moment(self) -> Iterator[None]:
        """Raises StoppedError in the block when the task is to stop, also between reports.

        A fine-tuning computes for minutes before its first update. The block must change nothing that matters.
        """
        if threading.current_thread() is not threading.main_thread():  # signals reach only the main thread
            yield
            return

        def stop(_number: int, _frame: object) -> None:
            if self._files.is_to_stop:
                signal.setitimer(signal.ITIMER_REAL, 0)  # raises once, so that the block can clean up
                raise StoppedError

        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, POLL_S, POLL_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _show(self, *, at_once: bool = False, **changes: Any) -> None:
        """Writes changes of the task, unless others were written less than `WRITE_S` ago.

        Args:
            at_once: write in any case.
            changes: attributes of the task.

        Raises:
            StoppedError: the task is to stop.
        """
        self._task = replace(self._task, **changes)
        if not at_once and time.monotonic() - self._written < WRITE_S:
            return
        if self._task.step != AFTER_CHANGE:
            self._stop_if_asked()
        self._write()

    def _stop_if_asked(self) -> None:
        if self._files.is_to_stop:
            raise StoppedError

    def _write(self, **changes: Any) -> None:
        self._task = task = replace(self._task, **changes)
        if self.plan is not None:
            left_s = self.plan.left_s(task.step, task.done, task.total, task.left_s)
            self._task = replace(task, all_left_s=task.all_left_s if left_s is None else left_s)
        self._written = time.monotonic()
        self._files.write(self._task)


def _left_s(began: float, done: float, total: float) -> float | None:
    """Seconds that the rest takes at the rate since `began`; None until the rate is known."""
    passed = time.monotonic() - began
    return passed / done * (total - done) if done > 0 and passed > RATE_S else None


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
        if isinstance(context.reporter, FileReporter):
            context.reporter.plan = Plan.of(store, ledger, settings.domain)
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
    from device_app.adaptation.changes import reweight
    from device_app.adaptation.settings import GatePolicy

    gate = GatePolicy(dry_run=dry_run)
    merge = {"lam": arguments["lam"]} if "lam" in arguments else {}
    with Store() as store, ledger.changing():
        return reweight(store, ledger, arguments["edit"], merge, gate, context).record()


def _revert(ledger: Ledger, arguments: Mapping[str, Any], context: ExecutionContext) -> dict[str, Any]:
    from device_app.adaptation.changes import revert
    from device_app.adaptation.retired_terms import restore_terms

    context.reporter.report("reverting")
    with ledger.changing():
        version = revert(ledger, arguments["edit"])
        return {"version": version.id, "restored_terms": restore_terms(ledger, context.reporter.report)}


def _measure(ledger: Ledger, _arguments: Mapping[str, Any], context: ExecutionContext) -> dict[str, Any]:
    from device_app.adaptation.report.history import measure_versions

    with Store() as store, ledger.changing():
        domains, versions = measure_versions(store, ledger, context)
    return {"domains": domains, "versions": len(versions)}


# What each kind of task does: (ledger, arguments of the task, context) -> its result.
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
