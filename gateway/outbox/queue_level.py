"""How full the queue of durable events is: a bound in events and in bytes, over all tenants.

Exact where this process is alone with the store; where others share it, each knows what the last measurement found and
what it changed itself since then. Source: issue 5, "Speed".
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import Overloaded
from gateway.outbox.record import Depth


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBound:
    """How much may wait for Phoenix."""

    max_events: int = 1_000_000
    """Two minutes of 8,000 events a second, or a day of twelve."""
    max_bytes: int = 1 << 30
    """Of bodies; on the disk about twice as much."""


class QueueLevel:
    """Counts what waits and what is on its way in."""

    def __init__(self, bound: QueueBound | None = None) -> None:
        self._bound = bound or QueueBound()
        self._coming_events = 0
        self._coming_bytes = 0
        self._since_events = 0
        self._since_bytes = 0
        self.events = 0
        """Events that wait."""
        self.size_bytes = 0
        """Bytes of their bodies."""

    def reserve(self, events: int, size_bytes: int) -> None:
        """Let so much on its way in; ended by `arrived`. Raises: Overloaded."""
        total_events = self.events + self._coming_events + events
        total_bytes = self.size_bytes + self._coming_bytes + size_bytes
        if total_events > self._bound.max_events or total_bytes > self._bound.max_bytes:
            raise Overloaded(
                "Too many durable events wait for Phoenix. Wait as RetryInfo says and try again.", retry_after_s=5.0
            )
        self._coming_events += events
        self._coming_bytes += size_bytes

    def arrived(self, events: int, size_bytes: int, new_events: int, new_bytes: int) -> None:
        """Note that what was on its way is there, as far as it was new."""
        self._coming_events -= events
        self._coming_bytes -= size_bytes
        self._change(new_events, new_bytes)

    def left(self, events: int, size_bytes: int) -> None:
        """Note that so much does not wait any longer."""
        self._change(-events, -size_bytes)

    def measuring(self) -> None:
        """Note that a measurement begins: what changes from here on may not be in it."""
        self._since_events = self._since_bytes = 0

    def measured(self, depth: Depth) -> None:
        """Take over what was measured."""
        self.events = max(0, depth.events + self._since_events)
        self.size_bytes = max(0, depth.size_bytes + self._since_bytes)

    def _change(self, events: int, size_bytes: int) -> None:
        self.events = max(0, self.events + events)
        self.size_bytes = max(0, self.size_bytes + size_bytes)
        self._since_events += events
        self._since_bytes += size_bytes
