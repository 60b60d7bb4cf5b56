"""Limits how many events leave per second."""

from __future__ import annotations

import time
from collections.abc import Callable

_BURST_S = 0.2
"""Seconds' worth of events that may leave at once after a pause. Small, because Phoenix counts in short windows."""
_PLENTY = 1_000_000


class Pace:
    """A token bucket. Without a rate it is never empty."""

    def __init__(self, per_second: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_second
        self._now = now
        self._level = 1.0
        self._filled_at = now()

    def available(self) -> int:
        """Return how many events may leave now."""
        if self._rate is None:
            return _PLENTY
        now = self._now()
        most = max(1.0, self._rate * _BURST_S)
        self._level = min(most, self._level + (now - self._filled_at) * self._rate)
        self._filled_at = now
        return int(self._level)

    def take(self, count: int) -> None:
        """Record that `count` events left."""
        if self._rate is not None:
            self._level -= count

    def wait_s(self) -> float:
        """Return the seconds until the next event may leave."""
        if self._rate is None:
            return 0.0
        return 0.0 if self.available() else (1.0 - self._level) / self._rate
