"""Counts and times every call, and counts the decisions on wallet webhooks.

Must be the first link. The chain runs every `after`, even of links that the call did not reach, and a call must not
leave the number of calls in flight without having entered it.
"""

from __future__ import annotations

from typing import Protocol

from gateway.actions.shared.call import Call
from gateway.core.wallet import Verdict
from gateway.interceptors.call_log import status_and_reason
from gateway.interceptors.chain import ArrivalCheck, EndObserver
from gateway.resilience.clock import Clock
from gateway.telemetry.spans import Span


class CallObserver(Protocol):
    """What this link reports to; `telemetry.metrics.Metrics` in the gateway."""

    def call_began(self, method: str) -> None:
        """A call arrived."""
        ...

    def call_ended(self, method: str, status: str, reason: str, seconds: float, span: Span | None = None) -> None:
        """A call ended. `span`: of a sampled call."""
        ...

    def wallet_decided(self, environment: str, verdict: str, disposition: str) -> None:
        """A webhook was decided on. `disposition` is empty if it was not verified."""
        ...

    def suspect_replay(self, environment: str) -> None:
        """A webhook's signed body was seen before under another idempotency key."""
        ...

    def unreadable_webhook(self, environment: str, state: str) -> None:
        """A signed webhook could not be read. `state`: `waiting` for a person, or `settled`."""
        ...

    def odd_header(self, kind: str) -> None:
        """One of a webhook's unsigned headers is not as Phoenix sends it."""
        ...


class CallMetrics(ArrivalCheck, EndObserver):
    """Reports every call to the observer."""

    def __init__(self, observer: CallObserver, clock: Clock) -> None:
        self._observer = observer
        self._clock = clock

    def before(self, call: Call) -> None:
        """Count the call as in flight."""
        self._observer.call_began(call.method)

    def after(self, call: Call, error: BaseException | None) -> None:
        """Count how the call ended, how long it took, and what was decided on a webhook."""
        status, reason = status_and_reason(error)
        span = None if call.trace is None else call.trace.span
        self._observer.call_ended(call.method, status, reason, self._clock.monotonic() - call.arrived_at, span)
        wallet = call.record.wallet
        if wallet is None or wallet.verdict is None:
            return
        environment = call.record.environment or ""
        disposition = "" if wallet.disposition is None else wallet.disposition.value
        self._observer.wallet_decided(environment, wallet.verdict.value, disposition)
        if wallet.suspect_replay:
            self._observer.suspect_replay(environment)
        if wallet.verdict is Verdict.UNREADABLE_OPERATION:
            self._observer.unreadable_webhook(environment, "settled" if wallet.settled else "waiting")
        for header in wallet.odd_headers:
            self._observer.odd_header(header.value)
