"""Metrics for Prometheus. They hold no texts and no names of clients."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from device_app.service.http.requests import EndedRequest

# The upper bounds of the histogram of request times, in seconds.
SECONDS = (0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0)


class Metrics:
    """Counters of one service.

    Attributes:
        registry: the registry of all metrics.
        requests: HTTP requests, by route, method and status.
        seconds: times from a request's header to the end of its response, by route.
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

    def count_request(self, request: EndedRequest) -> None:
        """Counts a request. Methods other than GET and POST are counted together, because a method may be any text."""
        method = request.method if request.method in ("GET", "POST") else "other"
        self.requests.labels(request.route, method, request.status).inc()
        self.seconds.labels(request.route).observe(request.seconds)

    def text(self, jobs: int, waiting: int) -> bytes:
        """All metrics in the text format of Prometheus.

        Args:
            jobs: the number of jobs in progress, `Turns.jobs`.
            waiting: the number of steps that wait for a thread, `Turns.waiting`.
        """
        self._jobs.set(jobs)
        self._waiting.set(waiting)
        return generate_latest(self.registry)
