"""The deadline of sends under a lease: it has passed, too, as soon as another replica may have taken the lease over.

A process that was paused between two steps finds the time expired before it writes. An answer on its way is awaited
all the same: whoever waits for it does no harm.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline


class LeaseDeadline(Deadline):
    """A deadline that looks at its lease each time it is asked."""

    __slots__ = ("_holds",)

    def __init__(self, *, at: float, clock: Clock, holds: Callable[[], bool]) -> None:
        """Args: `holds`: whether a send under the lease may still begin."""
        super().__init__(at=at, clock=clock)
        self._holds = holds

    def remaining(self) -> float:
        """Return the seconds left; zero once the lease may be lost."""
        return super().remaining() if self._holds() else 0.0

    @property
    def expired(self) -> bool:
        """Whether no send may begin."""
        return not self._holds() or self.at <= self.clock.monotonic()

    def shaved(self, margin_s: float) -> LeaseDeadline:
        """Return an earlier deadline of the same lease."""
        return LeaseDeadline(at=self.at - margin_s, clock=self.clock, holds=self._holds)

    def earlier(self, other: Deadline) -> LeaseDeadline:
        """Return the earlier of two deadlines, of the same lease."""
        return LeaseDeadline(at=min(self.at, other.at), clock=self.clock, holds=self._holds)
