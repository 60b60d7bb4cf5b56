"""Track the size of the queue of durable events, and limit it: in events and bytes, over all tenants.

The size is exact if only this process uses the store. Otherwise each process knows the last measurement and its own
changes since then.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import Overloaded
from gateway.outbox.record import Depth


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBound:
    """The limits of the queue."""

    max_events: int = 1_000_000
    """Two minutes of 8,000 events per second, or a day of 12 events per second."""
    max_bytes: int = 1 << 30
    """Size of the bodies; on disk about twice as much."""


class QueueLevel:
    """Counts the waiting events and the events that are being accepted."""

    def __init__(self, bound: QueueBound | None = None) -> None:
        self._bound = bound or QueueBound()
        self._coming_events = 0
        self._coming_bytes = 0
        self._since_events = 0
        self._since_bytes = 0
        self.events = 0
        """Waiting events."""
        self.size_bytes = 0
        """Bytes of their bodies."""

    def reserve(self, events: int, size_bytes: int) -> None:
        """Reserve space for events that are being accepted, until `arrived`. Raises: Overloaded."""
        total_events = self.events + self._coming_events + events
        total_bytes = self.size_bytes + self._coming_bytes + size_bytes
        if total_events > self._bound.max_events or total_bytes > self._bound.max_bytes:
            raise Overloaded(
                "Too many durable events wait for Phoenix. Wait as RetryInfo says and try again.", retry_after_s=5.0
            )
        self._coming_events += events
        self._coming_bytes += size_bytes

    def arrived(self, events: int, size_bytes: int, new_events: int, new_bytes: int) -> None:
        """End a reservation, and count the events that were new."""
        self._coming_events -= events
        self._coming_bytes -= size_bytes
        self._change(new_events, new_bytes)

    def left(self, events: int, size_bytes: int) -> None:
        """Count events that no longer wait."""
        self._change(-events, -size_bytes)

    def measuring(self) -> None:
        """Record that a measurement begins. It may not include changes from now on."""
        self._since_events = self._since_bytes = 0

    def measured(self, depth: Depth) -> None:
        """Take over a measurement."""
        self.events = max(0, depth.events + self._since_events)
        self.size_bytes = max(0, depth.size_bytes + self._since_bytes)

    def _change(self, events: int, size_bytes: int) -> None:
        self.events = max(0, self.events + events)
        self.size_bytes = max(0, self.size_bytes + size_bytes)
        self._since_events += events
        self._since_bytes += size_bytes
