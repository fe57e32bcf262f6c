"""A host's limits on requests, uploads and jobs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """
    Attributes:
        archive_bytes: per dataset.
        json_bytes: per JSON request body.
        vector_bytes: per task vector.
        jobs: jobs of all devices that have not ended.
        jobs_of_device: jobs of one device that have not ended.
        requests_per_minute: per device.
        training_s: fine-tuning time per job.
        idle_timeout_s: an upload without data for this long is aborted.
        uploads: concurrent uploads.
        upload_hours: after which an unfinished upload is abandoned.
        keep_hours: how long task vectors are kept for download.
        attempts: how often a job is started whose worker dies.
    """

    archive_bytes: int = 4 << 30
    json_bytes: int = 256 << 10
    vector_bytes: int = 512 << 20
    jobs: int = 1000
    jobs_of_device: int = 4
    requests_per_minute: int = 240
    training_s: float = 6 * 3600.0
    idle_timeout_s: float = 60.0
    uploads: int = 64
    upload_hours: float = 48.0
    keep_hours: float = 7 * 24.0
    attempts: int = 3
