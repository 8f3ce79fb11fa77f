"""What a worker counts and measures, for /metrics; docs/running.md has a line for each."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.runs.progress import Progress

_RATE_SPAN_S: Final = 10
_RUN_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_RUN_RECORDS: Final = (1, 10, 100, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000)


class Rate:
    """How much happens a second, over the last 10 s; what is older is forgotten when the next comes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_second: deque[tuple[int, int]] = deque(maxlen=_RATE_SPAN_S + 1)

    def add(self, count: int) -> None:
        """Count what has just happened."""
        second = int(self._clock())
        if self._by_second and self._by_second[-1][0] == second:
            count += self._by_second.pop()[1]
        self._by_second.append((second, count))

    def per_second(self) -> float:
        """Return the mean of the last ten full seconds."""
        now = int(self._clock())
        return sum(count for second, count in self._by_second if 0 < now - second <= _RATE_SPAN_S) / _RATE_SPAN_S


class Metrics:
    """
    The metrics of one worker, in a registry of their own. What a run changes is written once a run.

    Args:
        progress: how far each partition is that is being read; asked when somebody reads the metrics.
    """

    def __init__(self, version: str, progress: Callable[[float], list[Progress]]) -> None:
        self.registry = CollectorRegistry()
        self.rate = Rate()
        self._stored = self._counter("usages_stored", "usages stored")
        self._duplicates = self._counter("usages_duplicate", "usages that repeat a stored one")
        self._replayed = self._counter("records_replayed", "records delivered again and dropped, since done before")
        self._rerouted = self._counter("records_rerouted", "records sent on to the partition of their code")
        self._rejected = Counter(
            "referrals_records_rejected", "records kept as rejects", ["reason"], registry=self.registry
        )
        self._run_seconds = Histogram(
            "referrals_run_seconds", "seconds from the start of a run until it is stored",
            buckets=_RUN_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._run_records = Histogram(
            "referrals_run_records", "records of a run", buckets=_RUN_RECORDS, registry=self.registry
        )
        Gauge("referrals_build_info", "1; the label is the version", ["version"], registry=self.registry).labels(
            version
        ).set(1)
        self.registry.register(_PartitionGauges(progress))

    def note_run(
        self,
        *,
        records: int,
        seconds: float,
        stored: int,
        duplicates: int,
        replayed: int,
        rerouted: int,
        reject_reasons: Iterable[str],
    ) -> None:
        """Count a run that is stored."""
        self.rate.add(stored)
        self._stored.inc(stored)
        self._duplicates.inc(duplicates)
        self._replayed.inc(replayed)
        self._rerouted.inc(rerouted)
        for reason in reject_reasons:
            self._rejected.labels(reason).inc()
        self._run_seconds.observe(seconds)
        self._run_records.observe(records)

    def text(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, meaning: str) -> Counter:
        return Counter(f"referrals_{name}", meaning, registry=self.registry)


class _PartitionGauges(Collector):
    """Made anew for each reading, so a partition that went to another worker leaves no value behind."""

    def __init__(self, progress: Callable[[float], list[Progress]]) -> None:
        self._progress = progress

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the gauges of the partitions that are being read; a lag that is not known has no value."""
        held = self._progress(time.monotonic())
        position = GaugeMetricFamily("referrals_position", "next offset to store", labels=["partition"])
        lag = GaugeMetricFamily("referrals_lag", "offsets that wait to be stored", labels=["partition"])
        for each in held:
            position.add_metric([str(each.partition)], each.position)
            if each.lag is not None:
                lag.add_metric([str(each.partition)], each.lag)
        yield position
        yield lag
        yield GaugeMetricFamily("referrals_partitions_held", "partitions that are being read", value=len(held))
