"""Metrics for Prometheus. They hold no texts and no names of clients."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0)


class Metrics:
    """Counters of one service.

    Attributes:
        audio_s: seconds of audio that were recognised.
        live_ended: live connections that have ended, by protocol.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "asr_edge_requests", "HTTP requests.", ["route", "method", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "asr_edge_request_seconds",
            "Time from a request's header to the end of its response.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.audio_s = Counter("asr_edge_audio_seconds", "Seconds of audio recognised.", registry=self.registry)
        self.live_ended = Counter(
            "asr_edge_live_ended", "Live connections that have ended.", ["protocol"], registry=self.registry
        )
        self._jobs = Gauge("asr_edge_jobs", "Requests and live connections in progress.", registry=self.registry)
        self._waiting = Gauge("asr_edge_waiting_steps", "Steps that wait for a thread.", registry=self.registry)

    def text(self, jobs: int, waiting: int) -> bytes:
        """All metrics in the text format of Prometheus."""
        self._jobs.set(jobs)
        self._waiting.set(waiting)
        return generate_latest(self.registry)


class CountRequests:
    """ASGI middleware: counts requests by the template of their route, because a path may be anything."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 499, time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "-")
            method = scope["method"] if scope["method"] in ("GET", "POST") else "other"
            self._metrics.requests.labels(route, method, status).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)
