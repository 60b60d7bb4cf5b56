"""Counts failures of Redis, and shows whether it is used. Names and meanings: `metric_names.py`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.telemetry import metric_names as names
from gateway.telemetry.metric_names import OTHER

REDIS_FAULTS = frozenset(
    {
        "unreachable", "own_files", "timeout", "cut", "tls", "login", "forbidden", "read_only", "full",
        "not_saving", "too_many_clients", "loading", "busy", "no_master", "cluster_down", "cluster_node", "refused",
        "garbled",
    }
)  # fmt: skip
"""The kinds of `cache.redis_faults`; a test compares them."""


class RedisSeries:
    """The series of Redis."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register everything."""
        self._down = Gauge(names.REDIS_DOWN.name, names.REDIS_DOWN.help, names.REDIS_DOWN.labels, registry=registry)
        self._failures = Counter(
            names.REDIS_FAILURES.name, names.REDIS_FAILURES.help, names.REDIS_FAILURES.labels, registry=registry
        )
        for fault in sorted(REDIS_FAULTS):
            self._down.labels(fault)
            self._failures.labels(fault)

    def failed(self, kind: str) -> None:
        """Redis was not used: a use failed, or was left out because of an earlier failure of this kind."""
        self._failures.labels(kind if kind in REDIS_FAULTS else OTHER).inc()

    def in_use(self, fault_kind: str | None) -> None:
        """Redis is used from now on (None), or not, because of a fault of this kind."""
        for fault in REDIS_FAULTS:
            self._down.labels(fault).set(1 if fault == fault_kind else 0)
