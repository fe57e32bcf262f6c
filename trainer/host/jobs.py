"""Jobs from upload to result: their files, and the thread that starts and finishes them.

Each job has a folder named by its id. The database is authoritative: the files of jobs that have ended
or are not in the database are removed.
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
from editing.files import sha256, sync
from editing.privacy import make_folder, private_folder
from trainer.executors import Executor, RunningTask, Task
from trainer.host.database import UNFINISHED, Database, Job
from trainer.host.job_folder import JobFolder
from trainer.host.limits import Limits
from trainer.host.retention import Retention
from trainer.host.serving.disk import DiskReserve
from trainer.host.worker import run_job

POLL_S = 0.3  # between two updates of the jobs
RETRY_S = 5.0  # after an update that failed
CLEAN_UP_S = 60.0  # between two removals of files that are no longer needed

log = logging.getLogger(__name__)


@dataclass
class _RunningJob:
    running: RunningTask
    since: float


class Jobs:
    """All jobs of a host.

    Attributes:
        database: stores the states of the jobs.
        limits: limits on requests and jobs.
        disk: the reserve of the host's disk.
        ended: the number of jobs that have ended since the start, by state.
        training_s: seconds of fine-tuning since the start.
        queued, running: the number of jobs in these states when the thread last read them.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        signer: Signer,
        executor: Executor,
        limits: Limits,
        *,
        keep: bool = False,
    ) -> None:
        """
        Args:
            folder: the host's folder.
            database: the host's database.
            signer: signs task vectors.
            executor: runs the jobs.
            limits: limits on requests and jobs.
            keep: keep recordings after a job has ended.
        """
        self.database, self.limits = database, limits
        self._folder = private_folder(folder) / "jobs"
        self.disk = DiskReserve(folder, limits.reserve_bytes)
        self._retention = Retention(folder, database, limits, keep=keep)
        self._signer, self._executor, self._keep = signer, executor, keep
        self._started: dict[str, _RunningJob] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._cleaned_at = 0.0
        self.ended: dict[str, int] = {"done": 0, "failed": 0, "cancelled": 0}
        self.training_s = 0.0
        self.queued = self.running = 0
        self._observed_at = 0.0

    # Files

    def folder(self, job: Job) -> Path:
        """The folder of a job's files. The host chose its name, not the device."""
        return self._folder / job.id

    def _files(self, job: Job) -> JobFolder:
        return JobFolder(self.folder(job))

    def archive(self, job: Job) -> Path:
        """The part of the dataset that has been received."""
        return self._files(job).archive

    def received(self, job: Job) -> int:
        """The number of bytes of the dataset received so far."""
        try:
            return self.archive(job).stat().st_size
        except OSError:  # nothing yet; or after the upload, removed with the recordings
            return int(job.request["dataset"]["bytes"]) if job.state != "uploading" else 0

    def progress(self, job: Job) -> dict[str, Any] | None:
        """The progress of the fine-tuning; None if it has not started."""
        return self._files(job).read_progress()

    def vector(self, job: Job) -> Path | None:
        """A finished job's task vector, or None if the job has not succeeded or the file was removed."""
        path = self._files(job).vector
        return path if job.state == "done" and path.is_file() else None

    # Actions of devices

    def received_all(self, job: Job) -> None:
        """Verifies a complete upload and queues the job.

        Raises:
            BadInputError: the SHA-256 is not the announced one; the upload is removed.
            FileNotFoundError: the job was cancelled meanwhile.
        """
        path = self.archive(job)
        sync(path)
        if sha256(path) != job.request["dataset"]["sha256"]:
            path.unlink()
            raise BadInputError(
                "the uploaded bytes do not have the announced SHA-256; upload them again from the start"
            )
        self._files(job).write_request(job.request)
        if not self.database.transition(job.id, ["uploading"], "queued"):  # cancelled meanwhile
            self._files(job).remove()

    def remove_upload(self, job: Job) -> None:
        """Removes what was received of a dataset, so that it does not fill the disk."""
        self.archive(job).unlink(missing_ok=True)

    def cancel(self, job: Job) -> None:
        """Cancels a job if it has not ended, and removes its files; also on a full disk."""
        if self.disk.retry_when_full(lambda: self.database.transition(job.id, UNFINISHED, "cancelled")):
            self.ended["cancelled"] += 1
        self._files(job).request_file.unlink(missing_ok=True)  # a worker that starts now returns at once
        started = self._started.get(job.id)
        if started is not None:
            started.running.cancel()
        self._files(job).remove()
        self.disk.fill()

    # The thread

    def start(self) -> None:
        """Starts the thread, which resumes unfinished jobs and starts queued ones."""
        make_folder(self._folder)
        self.disk.fill()
        self._observe()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread and the workers. Running jobs resume from their last checkpoints at the next start."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10.0)
        for started in self._started.values():
            started.running.cancel()

    def is_alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread is not None and self._thread.is_alive()

    def waiting_s(self) -> float:
        """Seconds since the thread last read the jobs' states; many if the disk of the host's folder stalls."""
        return time.monotonic() - self._observed_at

    def _observe(self) -> None:
        self.queued, self.running = self.database.count("queued"), self.database.count("running")
        self._observed_at = time.monotonic()

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                self._observe()
                self.update()
            except Exception:  # such as a full disk or an unreachable cluster; the jobs wait until it is over
                log.exception("jobs could not be processed; trying again in %g s", RETRY_S)
                self._stop.wait(RETRY_S)

    def update(self) -> None:
        """Records finished jobs, starts queued jobs, and removes files that are no longer needed."""
        for job in self.database.jobs("running"):
            started = self._started.get(job.id)
            if started is None:
                self._launch(job)  # the host was restarted
            elif started.running.has_finished():
                del self._started[job.id]
                self._end(job)
            elif time.monotonic() - started.since > self.limits.training_s:
                started.running.cancel()
                del self._started[job.id]
                self._fail(job, f"it took longer than {self.limits.training_s / 3600:g} h, the limit of this host")
        for identity in self._started.keys() - {job.id for job in self.database.jobs("running")}:
            self._started.pop(identity).running.cancel()
            JobFolder(self._folder / identity).remove()
        free = self._executor.slots - len(self._started) if self.disk.free() else 0
        for job in self.database.jobs("queued")[: max(0, free)]:
            if self.database.transition(job.id, ["queued"], "running"):
                self._launch(job)
        if time.monotonic() - self._cleaned_at > CLEAN_UP_S or not self._cleaned_at:
            self._cleaned_at = time.monotonic()
            self.disk.fill()
            for job in self._retention.clean_up():
                self.cancel(job)

    def _launch(self, job: Job) -> None:
        if self._files(job).has_result():
            self._end(job)
            return
        log.info("a job starts")
        task = Task(f"job {job.id[:8]}", run_job, (self.folder(job),))
        self._started[job.id] = _RunningJob(self._executor.start(task), time.monotonic())

    def _end(self, job: Job) -> None:
        """Records the result of a finished worker, or queues the job again if the worker died."""
        result = self._files(job).read_result()
        if result is None:
            if not self.disk.free():  # the worker died of the full disk, not of the job
                self.database.transition(job.id, ["running"], "queued")
            elif job.attempts + 1 >= self.limits.attempts:
                self._fail(job, f"the worker died {self.limits.attempts} times; perhaps the host has too little memory")
            else:
                self.database.transition(job.id, ["running"], "queued", attempts=job.attempts + 1)
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
        summary = {"losses": result["losses"], "seconds": result["seconds"]}
        if self.database.transition(
            job.id, ["running"], "done", statement=statement, signature=signature, result=summary
        ):
            self.ended["done"] += 1
            log.info("a job is done")
            self.training_s += float(result["seconds"])
        self._files(job).remove_recordings(keep_archive=self._keep)

    def _fail(self, job: Job, error: str) -> None:
        if self.database.transition(job.id, ["running"], "failed", error=error):
            self.ended["failed"] += 1
            log.info("a job has failed")
        self._files(job).remove_recordings(keep_archive=self._keep)
