"""Series of prometheus_client's own kinds, with labels bounded to closed sets. They may be counted from any thread."""

from __future__ import annotations

from itertools import product
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from gateway.telemetry.metric_names import OTHER, Metric

M = TypeVar("M", bound=MetricWrapperBase)


class Children(Generic[M]):
    """The series of one metric by label values, made when first needed, never more than the closed sets allow."""

    __slots__ = ("_allowed", "_known", "_metric")

    def __init__(self, metric: M, allowed: tuple[frozenset[str] | set[str], ...]) -> None:
        self._metric = metric
        self._allowed = allowed
        self._known: dict[tuple[str, ...], M] = {}

    def of(self, values: tuple[str, ...]) -> M:
        """Return the series of these values, in the order of the metric's labels."""
        known = self._known.get(values)
        if known is not None:
            return known
        bounded = tuple(
            value if value in allowed else OTHER for value, allowed in zip(values, self._allowed, strict=True)
        )
        child = self._metric.labels(*bounded)
        if bounded == values:
            self._known[values] = child
        return child

    def primed(self) -> Children[M]:
        """Make every series now."""
        for values in product(*self._allowed):
            self.of(values)
        return self


def counter(metric: Metric, registry: CollectorRegistry) -> Counter:
    """Register a counter of the library."""
    return Counter(metric.name, metric.help, metric.labels, registry=registry)


def gauge(metric: Metric, registry: CollectorRegistry) -> Gauge:
    """Register a gauge of the library."""
    return Gauge(metric.name, metric.help, metric.labels, registry=registry)


def histogram(metric: Metric, registry: CollectorRegistry) -> Histogram:
    """Register a histogram of the library."""
    return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=registry)
