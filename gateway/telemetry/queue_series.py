"""Counts durable events: how many wait, and how they end. Names and meanings: `metric_names.py`."""

from __future__ import annotations

from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway import errors
from gateway.telemetry import metric_names as names
from gateway.telemetry.metric_names import OTHER, Metric

DURABLE_EVENTS = frozenset(
    {"queued", "known", "delivered", "retried", "redriven", "purged_delivered", "purged_dead", "taken_over"}
)

DEAD_REASONS = frozenset(
    kind.reason
    for kind in (
        errors.PhoenixRefusedInput,
        errors.PhoenixForbidden,
        errors.PhoenixNotFound,
        errors.PhoenixConflict,
        errors.PhoenixRefusedState,
        errors.BoardNotActive,
        errors.OutcomeUnknown,
    )
)
"""What an event can be given up for."""


class Measured(Protocol):
    """What waits; `evidence.queue.record.Depth` is one."""

    @property
    def events(self) -> int:
        """Events that wait."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes of their bodies."""
        ...

    @property
    def dead_letters(self) -> int:
        """Dead letters that nobody has redriven."""
        ...

    @property
    def oldest_at_us(self) -> int | None:
        """When the first event that waits was accepted."""
        ...

    @property
    def now_us(self) -> int:
        """When this was measured."""
        ...


class QueueSeries:
    """The series of the queue. Counting is safe from any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register everything."""
        self._events_now, self._oldest_now_s = 0, 0.0
        self._events = _counter(names.DURABLE_EVENTS, registry)
        self._dead = _counter(names.DEAD_LETTERS, registry)
        self._depth = _gauge(names.QUEUE_EVENTS, registry)
        self._bytes = _gauge(names.QUEUE_BYTES, registry)
        self._oldest = _gauge(names.QUEUE_OLDEST_SECONDS, registry)
        self._letters = _gauge(names.DEAD_LETTERS_KEPT, registry)
        for name in sorted(DURABLE_EVENTS):
            self._events.labels(name)
        for reason in sorted(DEAD_REASONS):
            self._dead.labels(reason)

    def events(self, name: str, count: int) -> None:
        """So many events came in, went out, or came back; see DURABLE_EVENTS."""
        self._events.labels(name if name in DURABLE_EVENTS else OTHER).inc(count)

    def died(self, reason: str) -> None:
        """An event was given up."""
        self._dead.labels(reason if reason in DEAD_REASONS else OTHER).inc()

    def purged(self, delivered: int, dead: int) -> None:
        """Old rows were deleted."""
        self.events("purged_delivered", delivered)
        self.events("purged_dead", dead)

    def waiting(self) -> dict[str, float]:
        """Return how many events wait, and how old the oldest is, as last measured."""
        return {"queue_events": self._events_now, "queue_oldest_s": self._oldest_now_s}

    def measured(self, depth: Measured) -> None:
        """Take over what waits."""
        self._depth.set(depth.events)
        self._bytes.set(depth.size_bytes)
        self._letters.set(depth.dead_letters)
        oldest = depth.oldest_at_us
        self._events_now = depth.events
        self._oldest_now_s = 0.0 if oldest is None else max(0.0, (depth.now_us - oldest) / 1_000_000)
        self._oldest.set(self._oldest_now_s)


def _counter(metric: Metric, registry: CollectorRegistry) -> Counter:
    return Counter(metric.name, metric.help, metric.labels, registry=registry)


def _gauge(metric: Metric, registry: CollectorRegistry) -> Gauge:
    return Gauge(metric.name, metric.help, metric.labels, registry=registry)
