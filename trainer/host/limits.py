"""A host's limits on requests, uploads and jobs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a host accepts, and how long it keeps things.

    Attributes:
        archive_bytes: per dataset.
        device_bytes: datasets of one device's jobs that have not ended.
        reserve_bytes: part of the disk that uploads may not use; at most a tenth of the disk.
        json_bytes: per JSON request body.
        vector_bytes: per task vector.
        jobs: jobs of all devices that have not ended.
        jobs_of_device: jobs of one device that have not ended.
        ended_of_device: cancelled and failed jobs of one device that are remembered.
        requests_per_minute: per device.
        training_s: fine-tuning time per job.
        idle_timeout_s: an upload without data for this long is aborted.
        uploads: concurrent uploads.
        upload_hours: after which an unfinished upload is abandoned. Of this limit and the next three, only hours in
            which the host ran count (`trainer.host.retention`).
        keep_hours: how long task vectors are kept for download.
        record_hours: how long jobs that have ended are remembered.
        contribution_hours: how long contributed task vectors are kept.
        attempts: how often a job is started in all if its worker dies each time.
    """

    archive_bytes: int = 4 << 30
    device_bytes: int = 8 << 30
    reserve_bytes: int = 64 << 20
    json_bytes: int = 256 << 10
    vector_bytes: int = 512 << 20
    jobs: int = 1000
    jobs_of_device: int = 4
    ended_of_device: int = 100
    requests_per_minute: int = 240
    training_s: float = 6 * 3600.0
    idle_timeout_s: float = 60.0
    uploads: int = 64
    upload_hours: float = 48.0
    keep_hours: float = 7 * 24.0
    record_hours: float = 60 * 24.0
    contribution_hours: float = 365 * 24.0
    attempts: int = 3
