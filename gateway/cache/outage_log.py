"""Reports outages of Redis: one log line when it goes out of use, one when it is back, and a count."""

from __future__ import annotations

from typing import Protocol

from gateway.cache.redis_faults import RedisFault
from gateway.telemetry.logs import log

MOST_LINES = 3
"""Log lines for one outage. Its cause may change, for example from a cut connection to one that is refused."""


class Series(Protocol):
    """What counts; `telemetry.redis_series.RedisSeries` is one."""

    def failed(self, kind: str) -> None:
        """Redis was not used, because of a fault of this kind."""
        ...

    def in_use(self, fault_kind: str | None) -> None:
        """Redis is used from now on (None), or not, because of a fault of this kind."""
        ...


class OutageLog:
    """The observer of one Redis; implements CacheObserver of client.py."""

    def __init__(self, series: Series, address: str) -> None:
        """Args: `address`: where the servers are, without credentials."""
        self._series = series
        self._address = address
        self._lines = 0

    def failed(self, fault: RedisFault) -> None:
        """Count a failure."""
        self._series.failed(fault.kind.value)

    def changed(self, fault: RedisFault | None, elapsed_s: float) -> None:
        """Log and show a change."""
        self._series.in_use(None if fault is None else fault.kind.value)
        if fault is None:
            self._lines = 0
            log().info("Redis is used again", address=self._address, elapsed_ms=round(elapsed_s * 1000))
            return
        self._lines += 1
        if self._lines <= MOST_LINES:
            log().warning(
                "Redis is not used: this replica continues with its own memory",
                address=self._address,
                kind=fault.kind.value,
                error_type=fault.error_type,
                status=fault.code,
                trouble=fault.what,
                advice=fault.advice,
            )
