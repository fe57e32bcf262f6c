"""What a host reports to Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from trainer.host.database import OPEN
from trainer.host.jobs import Jobs


class JobMetrics:
    """A collector: read when Prometheus asks."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """The values of now."""
        waiting = GaugeMetricFamily("asr_edge_jobs", "Jobs that have not ended.", labels=["state"])
        for state in OPEN:
            waiting.add_metric([state], self._jobs.database.count(state))
        yield waiting
        ended = CounterMetricFamily("asr_edge_jobs_ended", "Jobs that ended since the start.", labels=["state"])
        for name, count in self._jobs.ended.items():
            ended.add_metric([name], count)
        yield ended
        yield CounterMetricFamily(
            "asr_edge_training_seconds", "Spent on jobs that were done.", value=self._jobs.training_s
        )
