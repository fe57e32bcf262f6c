"""How long a host keeps files and records, and what it removes.

A clock that jumps must not expire anything. So ages are not differences of clock times: the host adds the
time that it saw passing by its monotonic clock, and stores the sums. The time while the host is off does not count.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from editing.files import write_atomically
from editing.json_text import is_number, read_json
from trainer.host.contributions import incoming_file, vector_file
from trainer.host.database import UNFINISHED, Database, Job
from trainer.host.job_folder import JobFolder
from trainer.host.limits import Limits

HOUR_S = 3600.0


class SeenAges:
    """For how many seconds the host has seen each file, record or upload unchanged."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: the file of the ages. If it is missing or damaged, all ages are 0.
        """
        self._path = path
        self._seen_at = time.monotonic()
        self._ages: dict[str, float] = {}
        with contextlib.suppress(OSError, ValueError):
            record = read_json(path)
            if isinstance(record, dict):
                self._ages = {name: float(age) for name, age in record.items() if is_number(age)}

    def update(self, names: Iterable[str]) -> Mapping[str, float]:
        """Adds the time since the last call to the ages of these names; forgets all others.

        Args:
            names: of everything that exists now. What changes gets another name, so that its age begins at 0.

        Returns:
            Seconds by name. New names have 0.
        """
        now = time.monotonic()
        passed, self._seen_at = now - self._seen_at, now
        self._ages = {name: self._ages[name] + passed if name in self._ages else 0.0 for name in names}
        with contextlib.suppress(OSError):  # a full disk; the ages stay in memory
            write_atomically(self._path, json.dumps(self._ages).encode())
        return self._ages


class Retention:
    """Removes leftovers of killed workers and uploads, and whatever is older than its limit."""

    def __init__(self, folder: Path, database: Database, limits: Limits, *, keep: bool) -> None:
        """
        Args:
            folder: the host's folder.
            database: the host's database.
            limits: how long each kind of file and record is kept.
            keep: keep recordings after a job has ended.
        """
        self._host, self._database, self._limits, self._keep = folder, database, limits, keep
        self._ages = SeenAges(folder / "ages.json")

    def clean_up(self) -> list[Job]:
        """Removes what is not needed any more; returns abandoned uploads, which the caller cancels."""
        jobs = {self._name(job): job for job in self._database.jobs()}
        vectors = {f"vector {one}": one for one in self._database.contributed_vectors()}
        incoming = {f"incoming {path.name}": path for path in incoming_file(self._host, 0).parent.glob("*")}
        # Left by a kill between a write and the record of it; those that the host offers are in no contribution either.
        unused = {f"unused {path.stem}": path for path in vector_file(self._host, "*").parent.glob("*.safetensors")}
        unused = {name: path for name, path in unused.items() if f"vector {path.stem}" not in vectors}
        ages = self._ages.update([*jobs, *vectors, *incoming, *unused])
        for name, path in incoming.items():
            if ages[name] > self._limits.upload_hours * HOUR_S:
                path.unlink(missing_ok=True)
        for name, vector in vectors.items():
            if ages[name] > self._limits.contribution_hours * HOUR_S and self._database.remove_contribution(vector):
                vector_file(self._host, vector).unlink(missing_ok=True)
        for name, path in unused.items():
            if ages[name] <= self._limits.upload_hours * HOUR_S:
                continue
            is_contributed = path.stem in self._database.contributed_vectors()  # since the list above
            if not is_contributed and self._database.remove_contribution(path.stem):  # not offered
                path.unlink(missing_ok=True)
        self._remove_job_files({job.id: ages[name] for name, job in jobs.items()})
        for name, job in jobs.items():
            if job.state not in UNFINISHED and ages[name] > self._limits.record_hours * HOUR_S:
                self._database.forget_job(job.id)
        return [
            job
            for name, job in jobs.items()
            if job.state == "uploading" and ages[name] > self._limits.upload_hours * HOUR_S
        ]

    def _files(self, identity: str) -> JobFolder:
        return JobFolder(self._host / "jobs" / identity)

    def _name(self, job: Job) -> str:
        """The job's name for `SeenAges`; another one whenever its state changes or bytes arrive."""
        received = 0
        if job.state == "uploading":
            with contextlib.suppress(OSError):
                received = self._files(job.id).archive.stat().st_size
        return f"job {job.id} {job.state} {received}"

    def _remove_job_files(self, ages: Mapping[str, float]) -> None:
        for folder in (self._host / "jobs").glob("*"):
            found, files = self._database.job(folder.name), self._files(folder.name)
            is_old = ages.get(folder.name, 0.0) > self._limits.keep_hours * HOUR_S
            if found is None or found.state == "cancelled" or (found.state not in UNFINISHED and is_old):
                files.remove()
            elif found.state not in UNFINISHED:
                files.remove_recordings(keep_archive=self._keep)
