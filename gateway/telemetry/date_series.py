"""Shows dates that other parts know, read at each scrape. Names and meanings: `metric_names.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from gateway.telemetry import metric_names as names

Dates = Mapping[str, float]
"""Unix seconds by the value of the metric's label, which is of a closed set."""


class DateSeries(Collector):
    """The dates of keys and certificates. There is no series for what is not configured."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them; nothing is followed yet."""
        self._reads: dict[str, Callable[[], Dates]] = {}
        registry.register(self)

    def follow_keys(self, read: Callable[[], Dates]) -> None:
        """Show from now on since when the keys are in use, by their kind."""
        self._reads[names.KEY_ACTIVE_SINCE.name] = read

    def follow_certificates(self, read: Callable[[], Dates]) -> None:
        """Show from now on when the certificates expire, by what they are for."""
        self._reads[names.CERTIFICATE_EXPIRY.name] = read

    def collect(self) -> Iterator[Family]:
        """Yield both families with the dates of now."""
        for metric in (names.KEY_ACTIVE_SINCE, names.CERTIFICATE_EXPIRY):
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            read = self._reads.get(metric.name)
            for value, at in ({} if read is None else read()).items():
                family.add_metric((value,), at)
            yield family
