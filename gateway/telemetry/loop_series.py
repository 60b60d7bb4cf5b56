"""Counters and histograms of what most calls do, kept as plain numbers and turned into series at each scrape.

prometheus-client's own take a lock and go through their buckets one by one: an event with one request to Phoenix spent
a tenth of its time on them. They belong to the event loop's thread, which counts and renders. `call_series.py` counts
the calls themselves. Names and meanings: `metric_names.py`.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Set
from itertools import product

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from gateway.telemetry.metric_names import OTHER, Metric
from gateway.telemetry.spans import Span, ids_of

Labels = tuple[str, ...]
Bucket = tuple[str, float] | tuple[str, float, Exemplar]


class _Bounded:
    """The label values that a metric may have, in the order of its labels."""

    def __init__(self, allowed: tuple[Set[str], ...]) -> None:
        self._allowed = allowed

    def __call__(self, values: Labels) -> Labels:
        """Return the values; OTHER in place of each that is not allowed."""
        return tuple(
            [value if value in allowed else OTHER for value, allowed in zip(values, self._allowed, strict=True)]
        )

    def all(self) -> Iterator[Labels]:
        """Yield all combinations."""
        yield from product(*self._allowed)


class LoopCounter(Collector):
    """A counter."""

    def __init__(self, metric: Metric, allowed: tuple[Set[str], ...], registry: CollectorRegistry) -> None:
        self._metric = metric
        self._bounded = _Bounded(allowed)
        self._counts: dict[Labels, int] = {}
        registry.register(self)

    def add(self, values: Labels) -> None:
        """Count one. Args: `values` in the order of the metric's labels."""
        counts = self._counts
        if values not in counts:
            values = self._bounded(values)
            counts.setdefault(values, 0)
        counts[values] += 1

    def prime(self, values: Labels) -> None:
        """Show the series of these values with 0 from the start."""
        self._counts.setdefault(values, 0)

    def collect(self) -> Iterator[Family]:
        """Yield the family with its current values."""
        family = CounterMetricFamily(self._metric.name, self._metric.help, labels=self._metric.labels)
        for values, count in self._counts.items():
            family.add_metric(values, count)
        yield family

    def describe(self) -> Iterator[Family]:
        """Yield the family: the registry asks before the first count."""
        yield from self.collect()


class LoopHistogram(Collector):
    """A histogram. The series of all values are shown from the start."""

    def __init__(self, metric: Metric, allowed: tuple[Set[str], ...], registry: CollectorRegistry) -> None:
        self._metric = metric
        self._bounds = metric.buckets
        self._bounded = _Bounded(allowed)
        self._rows = {values: _Row(len(self._bounds)) for values in self._bounded.all()}
        registry.register(self)

    def observe(self, values: Labels, amount: float, span: Span | None = None) -> None:
        """Count one amount. Args: `values` in the order of the metric's labels; `span`: an example of it."""
        row = self._rows.get(values)
        if row is None:
            row = self._rows.setdefault(self._bounded(values), _Row(len(self._bounds)))
        bucket = bisect_left(self._bounds, amount)
        row.counts[bucket] += 1
        row.sum += amount
        if span is not None and span.is_open:
            row.exemplars[bucket] = exemplar_of(span, amount)

    def collect(self) -> Iterator[Family]:
        """Yield the family with its current values."""
        family = HistogramMetricFamily(self._metric.name, self._metric.help, labels=self._metric.labels)
        for values, row in self._rows.items():
            family.add_metric(values, buckets(self._bounds, row.counts, row.exemplars), row.sum)
        yield family

    def describe(self) -> Iterator[Family]:
        """Yield the family: the registry asks before the first count."""
        yield from self.collect()


class _Row:
    """`counts`: by bucket, the last for what exceeds all of them. `exemplars`: the last one of a bucket."""

    __slots__ = ("counts", "exemplars", "sum")

    def __init__(self, bounds: int) -> None:
        self.counts = [0] * (bounds + 1)
        self.exemplars: dict[int, Exemplar] = {}
        self.sum = 0.0


def buckets(bounds: tuple[float, ...], counts: list[int], exemplars: Mapping[int, Exemplar]) -> list[Bucket]:
    """Return each bound with the amounts up to it, as Prometheus counts, and an example if there is one."""
    total = 0
    shown: list[Bucket] = []
    for at, (bound, count) in enumerate(zip((*bounds, float("inf")), counts, strict=True)):
        total += count
        text: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
        exemplar = exemplars.get(at)
        shown.append((text, total) if exemplar is None else (text, total, exemplar))
    return shown


def exemplar_of(span: Span, amount: float) -> Exemplar:
    """Return an amount as an example that names its trace."""
    return Exemplar(ids_of(span), amount, time.time())
