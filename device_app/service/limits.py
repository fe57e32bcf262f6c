"""Limits of the service on requests, uploads and live audio."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of a service.

    Attributes:
        upload_bytes: bytes of a request with a recording.
        body_bytes: bytes of a request without one.
        body_idle_s: a request whose body pauses for this long is refused.
        jobs: jobs of all clients at once. A job is a request that needs the CPU, or a live connection; see
            `device_app.service.turns`.
        jobs_of_client: jobs of one client at once.
        uploads: recordings that are received at once.
        message_bytes: bytes of a message of live audio.
        live: live connections at once. More audio than the CPU can recognise only makes all of them late.
        idle_s: a live connection without audio for this long is ended.
        shutdown_s: when the service stops, requests and live connections may go on for this long.
    """

    upload_bytes: int = 1 << 30
    body_bytes: int = 1 << 20
    body_idle_s: float = 30.0
    jobs: int = 128
    jobs_of_client: int = 32
    uploads: int = 32
    message_bytes: int = 1 << 20
    live: int = 32
    idle_s: float = 60.0
    shutdown_s: float = 15.0
