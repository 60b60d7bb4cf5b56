"""Notices that the clock of the host was set: the wall clock moved otherwise than the monotonic one.

A step makes signatures and tokens wrong before or after it, though no lease, so it is reported, and shown for a while.
Slow corrections, as NTP makes them, move both clocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.resilience.clock import Clock

STEP_S = 2.0
"""A smaller difference between two looks is no step."""
LOOK_S = 1.0
SHOWN_S = 600.0
"""How long a step is shown as `degraded`."""


class ClockSteps:
    """The steps of this host's wall clock. `look` alone reads it."""

    def __init__(self, clock: Clock, *, on_step: Callable[[float], None] = lambda step_s: None) -> None:
        """Args: `on_step`: gets the seconds of each step, negative for backwards."""
        self._clock = clock
        self._on_step = on_step
        self._ahead_s = self._now_ahead_s()
        self._last: tuple[float, float] | None = None
        """The last step, and when it was noticed, monotonic."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> float | None:
        """Return the seconds by which the clock was set since the last look; None: it was not."""
        ahead_s = self._now_ahead_s()
        step_s, self._ahead_s = ahead_s - self._ahead_s, ahead_s
        if abs(step_s) <= STEP_S:
            return None
        self._last = (step_s, self._clock.monotonic())
        self._on_step(step_s)
        return step_s

    def trouble(self) -> str | None:
        """Return the last step while it is to be shown."""
        if self._last is None or self._clock.monotonic() - self._last[1] > SHOWN_S:
            return None
        return f"set by {self._last[0]:+.1f} s"

    def _now_ahead_s(self) -> float:
        return self._clock.now() - self._clock.monotonic()
