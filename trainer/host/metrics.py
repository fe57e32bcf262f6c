"""A host's metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from trainer.host.database import UNFINISHED
from trainer.host.jobs import Jobs


class JobMetrics:
    """A Prometheus collector, read at each scrape."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """The current values."""
        unfinished = GaugeMetricFamily("asr_edge_jobs", "Jobs that have not ended.", labels=["state"])
        for state in UNFINISHED:
            unfinished.add_metric([state], self._jobs.database.count(state))
        yield unfinished
        ended = CounterMetricFamily("asr_edge_jobs_ended", "Jobs that have ended since the start.", labels=["state"])
        for name, count in self._jobs.ended.items():
            ended.add_metric([name], count)
        yield ended
        yield CounterMetricFamily(
            "asr_edge_training_seconds", "Seconds of fine-tuning of jobs that succeeded.", value=self._jobs.training_s
        )
