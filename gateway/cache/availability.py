"""Whether Redis is used now. Rules and times only; `client.py` acts on them.

Redis is used until a failure is certain: two in a row, a failed check after one, or an answer that leaves no doubt,
such as READONLY. Then nobody waits for it, and a probe finds out when it can be used again. If it fails again soon
after, the pauses between probes grow, so that the state does not flap whatever the cause is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.cache.redis_faults import PASSING, RedisFault
from gateway.resilience.clock import Clock

FAILURES_TO_BE_DOWN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """When probes run."""

    retry_after_s: float = 1.0
    """Pause between probes."""
    longest_retry_after_s: float = 30.0
    """Longest pause, reached when Redis fails again and again soon after a successful probe."""
    steady_after_s: float = 30.0
    """After so long in use, a failure is the first one again, and the next probe comes at once."""


OnChange = Callable[[RedisFault | None, float], None]
"""Receives the new fault, or None when Redis is used again, and how long the state before lasted, in seconds."""


class Availability:
    """The state of one Redis. In use at the beginning."""

    def __init__(self, clock: Clock, settings: ProbeSettings, on_change: OnChange) -> None:
        """Args: `on_change` is called when Redis goes out of use, with each other fault then, and when it is back."""
        self._clock = clock
        self._settings = settings
        self._on_change = on_change
        self._failures = 0
        self._fault: RedisFault | None = None
        self._changed_at = self._down_at = clock.monotonic()
        self._used_since: float | None = None
        self._pause_s = settings.retry_after_s
        self._probe_at = 0.0

    @property
    def fault(self) -> RedisFault | None:
        """Why Redis is not used; None while it is used."""
        return self._fault

    @property
    def may_probe(self) -> bool:
        """Whether Redis is not used and it is time for a probe."""
        return self._fault is not None and self._clock.monotonic() >= self._probe_at

    def answered(self) -> None:
        """A call was answered."""
        self._failures = 0

    def failed(self, fault: RedisFault) -> None:
        """A call failed. While Redis is not used, only probes decide: this call began before."""
        if self._fault is not None:
            return
        self._failures += 1
        if fault.kind not in PASSING or self._failures >= FAILURES_TO_BE_DOWN:
            self.put_out_of_use(fault)

    def put_out_of_use(self, fault: RedisFault) -> None:
        """It is certain that Redis cannot be used now."""
        now, before = self._clock.monotonic(), self._fault
        if before is None:
            settings = self._settings
            is_steady = self._used_since is None or now - self._used_since >= settings.steady_after_s
            self._pause_s = (
                settings.retry_after_s if is_steady else min(self._pause_s * 2, settings.longest_retry_after_s)
            )
            self._probe_at = now if is_steady else now + self._pause_s
            self._down_at = now
        self._fault = fault
        if before is None or before.kind is not fault.kind:
            self._on_change(fault, now - self._changed_at)
            self._changed_at = now

    def probe_failed(self, fault: RedisFault) -> None:
        """A probe failed."""
        self.put_out_of_use(fault)
        self._probe_at = self._clock.monotonic() + self._pause_s

    def probed(self) -> None:
        """A probe succeeded: Redis takes writes."""
        self._failures = 0
        if self._fault is None:
            return
        now = self._clock.monotonic()
        self._fault, self._used_since = None, now
        self._on_change(None, now - self._down_at)
        self._changed_at = now
