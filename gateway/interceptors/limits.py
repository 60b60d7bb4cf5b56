"""Enforces the limits of callers and tenants: a call counts before it is read, events and tenants once they are known.

A refusal names the limit and says when to try again. Refusals beyond an ordinary excess are sent at a fixed pace, so
that a flood does not take the capacity of other callers; each still arrives within its deadline.
resilience/limiter.py counts what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import Message

from gateway.actions.shared.call import Call
from gateway.core.switches import TargetKind
from gateway.errors import Overloaded, RateLimited
from gateway.interceptors.chain import ArrivalCheck, EndObserver, RequestCheck, TargetCheck
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import RETURN_MARGIN_S
from gateway.resilience.limiter import Limiter, Refused, Usage

MAX_IN_FLIGHT = 10_000
"""Calls and streams of all callers together. With more, the process could not end them all when it stops."""
_EVENT_SERVICE = "/phoenix.gateway.v1.EventService/"
EVENTS_OF: Mapping[str, Callable[[Any], int]] = {
    _EVENT_SERVICE + "SubmitEvent": lambda request: 1,
    _EVENT_SERVICE + "SubmitEvents": lambda request: len(request.events),
    _EVENT_SERVICE + "StreamEvents": lambda request: len(request.events),
}
"""How many events a request message contains."""


class _CallUsage:
    """What one call uses of the limits."""

    __slots__ = ("caller", "events", "further", "target", "target_usage")

    def __init__(self, caller: Usage | None) -> None:
        self.caller = caller
        self.events = 0
        """Of the current message, not counted to a tenant so far."""
        # Nearly every call names one target; it needs no dict.
        self.target = ""
        self.target_usage: Usage | None = None
        self.further: dict[str, Usage | None] | None = None


class Limits(ArrivalCheck, RequestCheck, TargetCheck, EndObserver):
    """Belongs after Policy, so that calls of unknown callers are not counted, and before any work."""

    def __init__(self, callers: Limiter, tenants: Limiter, clock: Clock, *, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self._callers = callers
        self._tenants = tenants
        self._clock = clock
        self._max_in_flight = max_in_flight
        self._used: dict[int, _CallUsage] = {}

    def before(self, call: Call) -> None:
        """Count the call to its caller. Raises: RateLimited, Overloaded."""
        if len(self._used) >= self._max_in_flight:
            raise Overloaded
        usage = self._callers.of(call.caller)
        if usage is not None:
            now = call.arrived_at
            refused = usage.enter(now)
            if refused is not None:
                error = _error(refused, "caller")
                pace_s = usage.pace_refusal(now)
                if pace_s > 0:
                    error.pace_s = max(0.0, min(pace_s, call.deadline.remaining() - RETURN_MARGIN_S))
                raise error
        self._used[id(call)] = _CallUsage(usage)

    def on_request(self, call: Call, request: Message) -> None:
        """Count the events of a request message to the caller. Raises: RateLimited."""
        count_of = EVENTS_OF.get(call.method)
        if count_of is None:
            return
        used = self._used[id(call)]
        used.events = count_of(request)
        if used.caller is not None:
            refused = used.caller.add_events(used.events, self._clock.monotonic())
            if refused is not None:
                raise _error(refused, "caller")

    def on_target(self, call: Call, kind: TargetKind, name: str) -> None:
        """Count the call, once, and the events of its message to a tenant or operator environment.

        A call that names several counts to each. Raises: RateLimited.
        """
        used = self._used.get(id(call))
        if used is None:  # work without a call of its own
            return
        if name == used.target:
            usage = used.target_usage
        elif not used.target:
            usage = self._entered(name, call)
            used.target, used.target_usage = name, usage
        else:
            usage = self._further(used, name, call)
        if usage is not None and used.events:
            events, used.events = used.events, 0
            refused = usage.add_events(events, self._clock.monotonic())
            if refused is not None:
                raise _error(refused, "tenant")

    def after(self, call: Call, error: BaseException | None) -> None:
        """Release what the call used."""
        used = self._used.pop(id(call), None)
        if used is None:
            return
        if used.caller is not None:
            used.caller.in_flight -= 1
        if used.target_usage is not None:
            used.target_usage.leave()
        for usage in (used.further or {}).values():
            if usage is not None:
                usage.leave()

    def _entered(self, name: str, call: Call) -> Usage | None:
        """Count the call. Raises: RateLimited."""
        usage = self._tenants.of(name)
        if usage is not None:
            refused = usage.enter(call.arrived_at)
            if refused is not None:
                raise _error(refused, "tenant")
        return usage

    def _further(self, used: _CallUsage, name: str, call: Call) -> Usage | None:
        if used.further is None:
            used.further = {}
        if name not in used.further:
            used.further[name] = self._entered(name, call)
        return used.further[name]


def _error(refused: Refused, whose: str) -> RateLimited:
    return RateLimited(
        f"The {whose}'s limit {refused.limit} is used up. Wait as RetryInfo says and try again.",
        retry_after_s=max(refused.retry_after_s, 0.01),
        metadata={"limit": refused.limit, "whose": whose},
    )
