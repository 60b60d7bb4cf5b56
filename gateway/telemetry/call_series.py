"""The three metrics of every call, kept as plain numbers and turned into series at each scrape.

prometheus-client's own counters take a lock and go through their buckets one by one: a tenth of an empty call. Belongs
to the event loop's thread, which counts and renders. Names and meanings: `metric_names.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from gateway.telemetry import metric_names as names
from gateway.telemetry.histogram_cells import CellFamily, Cells, exemplar_of
from gateway.telemetry.metric_names import OTHER
from gateway.telemetry.spans import Span

_ALERTED = (
    ("/", ("INTERNAL", "INTERNAL")),
    ("/RecordWalletOutcome", ("FAILED_PRECONDITION", "OUTCOME_DIFFERS")),
    ("/RecordWalletOutcome", ("FAILED_PRECONDITION", "STALE_ATTEMPT")),
)
"""Ends whose first one is an alert, by a part of the method. Their series exist from the start: Prometheus sees no
increase in a series that begins with 1."""

_CELLS = Cells(names.CALL_SECONDS)
_BOUNDS = _CELLS.bounds


class CallSeries(Collector):
    """Counts calls by method, status and reason, their seconds and those in flight."""

    def __init__(self, methods: Iterable[str], statuses: frozenset[str], reasons: frozenset[str]) -> None:
        """Args: closed sets of what the labels may say; what is in none of them counts as OTHER."""
        self._statuses, self._reasons = statuses, reasons
        self._rows = {method: _Row() for method in methods}
        self._other = _Row()
        for method, row in self._rows.items():
            row.ended["OK", ""] = 0
            row.ended |= {end: 0 for part, end in _ALERTED if part in method}

    def began(self, method: str) -> None:
        """A call came."""
        self._rows.get(method, self._other).in_flight += 1

    def ended(self, method: str, status: str, reason: str, seconds: float, span: Span | None) -> None:
        """A call that had begun ended. Args: `span`: of a sampled call."""
        row = self._rows.get(method, self._other)
        row.in_flight -= 1
        row.counts[bisect_left(_BOUNDS, seconds)] += 1
        row.seconds += seconds
        if span is not None:
            row.exemplars[bisect_left(names.CALL_BUCKETS, seconds)] = exemplar_of(span, seconds)
        try:
            row.ended[status, reason] += 1
        except KeyError:  # the first call that ends so; a look before each would cost a tenth of all this
            end = (status if status in self._statuses else OTHER, reason if reason in self._reasons else OTHER)
            row.ended[end] = row.ended.get(end, 0) + 1

    def totals(self) -> dict[str, tuple[int, int, list[int]]]:
        """Return, by method: calls that ended, those that failed, and the calls by bucket of their time."""
        found = {}
        for method, row in self._rows.items():
            ended = sum(row.ended.values())
            if ended:
                found[method] = (ended, ended - row.ended["OK", ""], _CELLS.classic(row.counts))
        return found

    def collect(self) -> Iterator[Family]:
        """Yield the families with their current values."""
        rows = dict(self._rows)
        if self._other.ended or self._other.in_flight:
            rows[OTHER] = self._other
        ends = CounterMetricFamily(names.CALLS.name, names.CALLS.help, labels=names.CALLS.labels)
        seconds = CellFamily(names.CALL_SECONDS, _CELLS)
        in_flight = GaugeMetricFamily(names.CALLS_IN_FLIGHT.name, names.CALLS_IN_FLIGHT.help, labels=("method",))
        for method, row in rows.items():
            for (status, reason), count in row.ended.items():
                ends.add_metric((method, status, reason), count)
            seconds.add((method,), row.counts, row.seconds, row.exemplars)
            in_flight.add_metric((method,), row.in_flight)
        yield from (ends, seconds, in_flight)

    def describe(self) -> Iterator[Family]:
        """Yield the families' names: the registry asks before the first call."""
        yield from self.collect()


class _Row:
    """What is kept for one method. `counts`: calls by cell of their time. `exemplars`: the last of a classic bucket."""

    __slots__ = ("counts", "ended", "exemplars", "in_flight", "seconds")

    def __init__(self) -> None:
        self.in_flight = 0
        self.counts = _CELLS.empty()
        self.exemplars: dict[int, Exemplar] = {}
        self.seconds = 0.0
        self.ended: dict[tuple[str, str], int] = {}
