"""Counters and histograms of what most calls do, kept as plain numbers and turned into series at each scrape.

prometheus-client's own take a lock and go through their buckets one by one: an event with one request to Phoenix spent
a tenth of its time on them. They belong to the event loop's thread, which counts and renders. `call_series.py` counts
the calls themselves. Names and meanings: `metric_names.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Set
from itertools import product

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from gateway.telemetry.histogram_cells import CellFamily, Cells, exemplar_of
from gateway.telemetry.metric_names import OTHER, Metric
from gateway.telemetry.spans import Span

Labels = tuple[str, ...]


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
        self._cells = Cells(metric)
        self._bounds = self._cells.bounds
        self._bounded = _Bounded(allowed)
        self._rows = {values: _Row(self._cells) for values in self._bounded.all()}
        registry.register(self)

    def observe(self, values: Labels, amount: float, span: Span | None = None) -> None:
        """Count one amount. Args: `values` in the order of the metric's labels; `span`: an example of it."""
        row = self._rows.get(values)
        if row is None:
            row = self._rows.setdefault(self._bounded(values), _Row(self._cells))
        row.counts[bisect_left(self._bounds, amount)] += 1
        row.sum += amount
        if span is not None and span.is_open:
            row.exemplars[bisect_left(self._metric.buckets, amount)] = exemplar_of(span, amount)

    def collect(self) -> Iterator[Family]:
        """Yield the family with its current values."""
        family = CellFamily(self._metric, self._cells)
        for values, row in self._rows.items():
            family.add(values, row.counts, row.sum, row.exemplars)
        yield family

    def describe(self) -> Iterator[Family]:
        """Yield the family: the registry asks before the first count."""
        yield from self.collect()


class _Row:
    """`counts`: by cell. `exemplars`: the last one of a classic bucket."""

    __slots__ = ("counts", "exemplars", "sum")

    def __init__(self, cells: Cells) -> None:
        self.counts = cells.empty()
        self.exemplars: dict[int, Exemplar] = {}
        self.sum = 0.0
