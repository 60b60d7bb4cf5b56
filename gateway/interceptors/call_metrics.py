"""Counts and times every call, and what wallet calls came to.

Must be the first link: the chain runs every `after`, also of links that it did not come to, and calls in flight would
be counted down without having been counted up.
"""

from __future__ import annotations

from typing import Protocol

from gateway.actions.shared.call import Call
from gateway.interceptors.call_log import ended
from gateway.interceptors.chain import Link
from gateway.resilience.clock import Clock


class CallObserver(Protocol):
    """What this link tells; `telemetry.metrics.Metrics` hears it."""

    def call_began(self, method: str) -> None:
        """A call came."""
        ...

    def call_ended(self, method: str, status: str, reason: str, seconds: float) -> None:
        """It ended."""
        ...

    def wallet_decided(self, environment: str, verdict: str, disposition: str) -> None:
        """A webhook was decided on."""
        ...

    def suspect_replay(self, environment: str) -> None:
        """Its signed body came before under another key."""
        ...

    def odd_header(self, kind: str) -> None:
        """One of its unsigned headers was odd."""
        ...


class CallMetrics(Link):
    """Tells the observer of every call; of wallet calls by the facts that the action left."""

    def __init__(self, observer: CallObserver, clock: Clock) -> None:
        self._observer = observer
        self._clock = clock

    def before(self, call: Call) -> None:
        """Count the call as in flight."""
        self._observer.call_began(call.method)

    def after(self, call: Call, error: BaseException | None) -> None:
        """Count how it ended and how long it took. Facts read: verdict, disposition, suspect_replay, odd_headers."""
        status, reason = ended(error)
        self._observer.call_ended(call.method, status, reason, self._clock.monotonic() - call.arrived_at)
        facts = call.facts
        verdict = facts.get("verdict")
        if verdict is None:
            return
        environment = facts.get("environment", "")
        self._observer.wallet_decided(environment, verdict, facts.get("disposition", ""))
        if facts.get("suspect_replay") == "true":
            self._observer.suspect_replay(environment)
        for kind in facts.get("odd_headers", "").split():
            self._observer.odd_header(kind)
