"""How much a host lets devices ask of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """
    Attributes:
        archive_bytes: of one dataset.
        json_bytes: of a request's body, and of headers that hold JSON.
        vector_bytes: of one task vector.
        jobs: of all devices that have not ended.
        jobs_of_device: likewise, of one.
        requests_per_minute: of one device.
        training_s: one job may be learnt for so long.
        silence_s: an upload that sends nothing for so long is cut.
        uploads: at once.
        upload_hours: after which an upload that was never finished is given up.
        keep_hours: how long task vectors wait to be fetched.
        attempts: how often a worker that dies is started again.
    """

    archive_bytes: int = 4 << 30
    json_bytes: int = 256 << 10
    vector_bytes: int = 512 << 20
    jobs: int = 1000
    jobs_of_device: int = 4
    requests_per_minute: int = 240
    training_s: float = 6 * 3600.0
    silence_s: float = 60.0
    uploads: int = 64
    upload_hours: float = 48.0
    keep_hours: float = 7 * 24.0
    attempts: int = 3
