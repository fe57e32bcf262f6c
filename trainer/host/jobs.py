"""Jobs from their upload to their end: the files of each, and the thread that starts and ends them.

A job's files are in a folder of its name. What the database says is true; files of jobs that have
ended, or that it does not know, are removed.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_app.remote.signatures import Signer
from editing.errors import BadInputError
from editing.files import make_folder, private_folder, sha256
from trainer.executors import Engine, Running, Task
from trainer.host.database import OPEN, Database, Job
from trainer.host.job_folder import JobFolder
from trainer.host.limits import Limits
from trainer.host.worker import work

POLL_S = 0.3
RETRY_S = 5.0
TIDY_S = 60.0

log = logging.getLogger(__name__)


@dataclass
class _Started:
    running: Running
    since: float


class Jobs:
    """All jobs of a host.

    Attributes:
        database: records their states.
        limits: how much devices may ask.
        ended: how many jobs ended since the start, by state.
        training_s: spent on fine-tuning since the start.
    """

    def __init__(
        self, folder: Path, database: Database, signer: Signer, engine: Engine, limits: Limits, *, keep: bool = False
    ) -> None:
        """
        Args:
            folder: of the host.
            database: of the host.
            signer: signs task vectors.
            engine: where jobs are done.
            limits: how much devices may ask.
            keep: keep recordings when a job has ended.
        """
        self.database, self.limits = database, limits
        self._folder = private_folder(folder) / "jobs"
        self._signer, self._engine, self._keep = signer, engine, keep
        self._started: dict[str, _Started] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._tidied = 0.0
        self.ended: dict[str, int] = {"done": 0, "failed": 0, "cancelled": 0}
        self.training_s = 0.0

    # Files

    def folder(self, job: Job) -> Path:
        """Where a job's files are; the name was chosen here, never by a device."""
        return self._folder / job.id

    def _files(self, job: Job) -> JobFolder:
        return JobFolder(self.folder(job))

    def archive(self, job: Job) -> Path:
        """The dataset, as far as it has come."""
        return self._files(job).archive

    def received(self, job: Job) -> int:
        """How many bytes of the dataset are here."""
        try:
            return self.archive(job).stat().st_size
        except OSError:
            return int(job.request["dataset"]["bytes"]) if job.state != "uploading" else 0

    def progress(self, job: Job) -> dict[str, Any] | None:
        """Where the fine-tuning is, if it has begun."""
        return self._files(job).read_progress()

    def vector(self, job: Job) -> Path | None:
        """A finished job's task vector, if it is still here."""
        path = self._files(job).vector
        return path if job.state == "done" and path.is_file() else None

    # What devices do with jobs

    def received_all(self, job: Job) -> None:
        """Checks an upload that is complete, and puts the job into the queue.

        Raises:
            BadInputError: the bytes are not those that were announced; they are removed.
        """
        path = self.archive(job)
        if sha256(path) != job.request["dataset"]["sha256"]:
            path.unlink()
            raise BadInputError("the bytes are not those that were announced; send them again from the start")
        self._files(job).write_request(job.request)
        self.database.move(job.id, ["uploading"], "queued")

    def cancel(self, job: Job) -> None:
        """Ends a job, if it has not ended, and removes its files."""
        if self.database.move(job.id, OPEN, "cancelled"):
            self.ended["cancelled"] += 1
        self._files(job).request_file.unlink(missing_ok=True)  # a worker that starts now finds nothing to do
        started = self._started.get(job.id)
        if started is not None:
            started.running.cancel()
        self._files(job).remove()

    # The thread

    def start(self) -> None:
        """Starts the thread: it continues the jobs that are there, and starts those that come."""
        make_folder(self._folder)
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops; what is running will go on after its last checkpoint when the host is back."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10.0)
        for started in self._started.values():
            started.running.cancel()

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                self.update()
            except Exception:  # a full disk, a cluster that is away: the jobs wait until it is over
                log.exception("jobs could not be seen to; trying again in %g s", RETRY_S)
                self._stop.wait(RETRY_S)

    def update(self) -> None:
        """Ends what has finished, starts what can be started, removes what is not needed."""
        for job in self.database.jobs("running"):
            started = self._started.get(job.id)
            if started is None:
                self._launch(job)  # the host was restarted
            elif started.running.has_ended():
                del self._started[job.id]
                self._end(job)
            elif time.monotonic() - started.since > self.limits.training_s:
                started.running.cancel()
                del self._started[job.id]
                self._fail(job, f"it took longer than {self.limits.training_s / 3600:g} h, the most on this host")
        for identity in self._started.keys() - {job.id for job in self.database.jobs("running")}:
            self._started.pop(identity).running.cancel()
            JobFolder(self._folder / identity).remove()
        free = self._engine.slots - len(self._started)
        for job in self.database.jobs("queued")[: max(0, free)]:
            if self.database.move(job.id, ["queued"], "running"):
                self._launch(job)
        if time.monotonic() - self._tidied > TIDY_S or not self._tidied:
            self._tidied = time.monotonic()
            self._tidy()

    def _launch(self, job: Job) -> None:
        if self._files(job).has_result():
            self._end(job)
            return
        task = Task(f"job {job.id[:8]}", work, (self.folder(job),))
        self._started[job.id] = _Started(self._engine.start(task), time.monotonic())

    def _end(self, job: Job) -> None:
        """Records the result of a worker that has ended, or queues its job again."""
        result = self._files(job).read_result()
        if result is None:
            if job.attempts + 1 >= self.limits.attempts:
                self._fail(job, "the worker died again and again; perhaps its memory is too small")
            elif self.database.move(job.id, ["running"], "queued", attempts=job.attempts + 1):
                return
            return
        if "error" in result:
            self._fail(job, str(result["error"]))
            return
        statement, signature = self._signer.sign(
            {
                "kind": "task-vector",
                "job": job.id,
                "base": job.request["base"],
                "edits": job.request["edits"],
                "dataset": job.request["dataset"]["sha256"],
                "settings": job.request["settings"],
                "vector": result["vector"],
            }
        )
        shown = {"losses": result["losses"], "seconds": result["seconds"]}
        if self.database.move(job.id, ["running"], "done", statement=statement, signature=signature, result=shown):
            self.ended["done"] += 1
            self.training_s += float(result["seconds"])
        self._files(job).remove_recordings(keep_archive=self._keep)

    def _fail(self, job: Job, error: str) -> None:
        if self.database.move(job.id, ["running"], "failed", error=error):
            self.ended["failed"] += 1
        self._files(job).remove_recordings(keep_archive=self._keep)

    # Removing

    def _tidy(self) -> None:
        """Removes files that no job needs: those a kill left, abandoned uploads, vectors nobody fetched."""
        now = time.time()
        for job in self.database.jobs("uploading"):
            last = max(job.changed, _modified(self.archive(job)))
            if now - last > self.limits.upload_hours * 3600:
                self.cancel(job)
        for folder in self._folder.glob("*"):
            found = self.database.job(folder.name)
            is_old = found is not None and now - found.changed > self.limits.keep_hours * 3600
            if found is None or found.state == "cancelled" or (found.state not in OPEN and is_old):
                JobFolder(folder).remove()
            elif found.state not in OPEN:
                JobFolder(folder).remove_recordings(keep_archive=self._keep)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
