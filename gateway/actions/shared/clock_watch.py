"""Compares this machine's wall clock with Phoenix's, or with the database's where Phoenix shows none.

Phoenix decides whether our signatures and tokens are in time, so its `Date` headers decide here. What was read is kept
on the monotonic clock: a step of the wall clock shows at once, without another request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.actions.shared.own_parts import Cause
from gateway.core.clock_skew import MOST_SKEW_S, judged_skew, skew_of_date
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

KEPT_S = 600.0
"""How long a reading is used. The monotonic clock drifts by less than 0.1 s in this time."""


class ClockWatch:
    """What was read of other clocks."""

    def __init__(self, clock: Clock, database_ahead_s: Callable[[], float | None] = lambda: None) -> None:
        """Args: `database_ahead_s`: by how much our clock is ahead of the database's; None if it shows none."""
        self._clock = clock
        self._database_ahead_s = database_ahead_s
        self._readings: dict[str, tuple[float, float]] = {}

    def read(self, base_url: str, headers: Mapping[str, str], sent_at: float, received_at: float) -> None:
        """Take an answer's headers. Args: wall clock before and after the exchange."""
        skew = skew_of_date(headers, sent_at, received_at)
        if skew is not None:
            now = self._clock.monotonic()
            self._readings[base_url] = (now, received_at - skew - now)

    def skew_s(self) -> float:
        """Return by how many seconds our clock is ahead (negative: behind); 0 while no other clock is known."""
        now, wall = self._clock.monotonic(), self._clock.now()
        skews = [wall - now - offset for at, offset in self._readings.values() if now - at < KEPT_S]
        if skews:
            return judged_skew(skews)
        return self._database_ahead_s() or 0.0

    async def look(self, deadline: Deadline) -> Cause | None:
        """Return what is wrong with the clock; None if it is right, as far as other clocks show."""
        skew = self.skew_s()
        if abs(skew) <= MOST_SKEW_S:
            return None
        direction = "ahead of" if skew > 0 else "behind"
        return Cause(
            part="clock",
            kind="ahead" if skew > 0 else "behind",
            trouble=f"this machine's clock is {abs(skew):.0f} s {direction} Phoenix's or the database's",
            advice="set this machine's clock by NTP (chrony, systemd-timesyncd): Phoenix refuses what is 300 s off",
        )
