"""Limits of the service on requests, uploads and live audio."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """
    Attributes:
        upload_bytes: per recording.
        body_bytes: per request without a recording.
        body_idle_s: a request whose body pauses for this long is refused.
        jobs: requests and live connections of all clients that are served at once; each waits for its turns.
        jobs_of_client: of one client; see `device_app.service.turns`.
        uploads: recordings that are received at once.
        message_bytes: per message of live audio.
        pending_s: seconds of live audio that may wait for recognition before the service stops reading.
        idle_s: a live connection without audio for this long is ended.
        live_hours: after which a live connection is ended.
        retry_after_s: seconds after which a refused client should try again.
    """

    upload_bytes: int = 1 << 30
    body_bytes: int = 1 << 20
    body_idle_s: float = 30.0
    jobs: int = 128
    jobs_of_client: int = 32
    uploads: int = 32
    message_bytes: int = 1 << 20
    pending_s: float = 30.0
    idle_s: float = 60.0
    live_hours: float = 12.0
    retry_after_s: int = 5
