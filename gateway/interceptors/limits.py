"""Refuses what is above a caller's or a tenant's limits: a caller's calls before they are read, events and tenants
as soon as they are known.

A refusal says which limit and when to come again. Refusals beyond an ordinary excess leave at a pace of our own, so
that a flood cannot spend what the others need; each still arrives within its deadline. How much is left is
resilience/limiter.py's matter. Source: issue 8, point 7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from google.protobuf.message import Message

from gateway.actions.shared.call import Call
from gateway.errors import Overloaded, RateLimited
from gateway.interceptors.chain import Link
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import RETURN_MARGIN_S
from gateway.resilience.limiter import Limiter, Refused, Usage

MAX_IN_FLIGHT = 10_000
"""Calls and streams of all callers together: beyond it the process would hold more than it can end in time."""
_EVENT_SERVICE = "/phoenix.gateway.v1.EventService/"
EVENTS_OF: Mapping[str, Callable[[Any], int]] = {
    _EVENT_SERVICE + "SubmitEvent": lambda request: 1,
    _EVENT_SERVICE + "SubmitEvents": lambda request: len(request.events),
    _EVENT_SERVICE + "StreamEvents": lambda request: len(request.events),
}
"""How many events a message brings."""


class _Inside:
    """What one call holds of limits."""

    __slots__ = ("caller", "events", "further", "tenant", "tenant_usage")

    def __init__(self, caller: Usage | None) -> None:
        self.caller = caller
        self.events = 0
        """Of the message at hand, not yet laid on its tenant."""
        # Nearly every call means one tenant: that one without a table.
        self.tenant = ""
        self.tenant_usage: Usage | None = None
        self.further: dict[str, Usage | None] | None = None


class Limits(Link):
    """Stands behind policy, so that a stranger's calls are counted to nobody, and before anything that costs."""

    def __init__(self, callers: Limiter, tenants: Limiter, clock: Clock, *, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self._callers = callers
        self._tenants = tenants
        self._clock = clock
        self._max_in_flight = max_in_flight
        self._inside: dict[int, _Inside] = {}

    def before(self, call: Call) -> Awaitable[None] | None:
        """Count the call to its caller. Raises: RateLimited, Overloaded."""
        if len(self._inside) >= self._max_in_flight:
            raise Overloaded
        usage = self._callers.of(call.caller)
        if usage is not None:
            now = call.arrived_at
            refused = usage.enter(now)
            if refused is not None:
                pace_s = usage.pace_refusal(now)
                if pace_s > 0:
                    return _refuse_later(refused, min(pace_s, call.deadline.remaining() - RETURN_MARGIN_S))
                raise _error(refused, "caller")
        self._inside[id(call)] = _Inside(usage)
        return None

    def message(self, call: Call, message: Message) -> None:
        """Count the events of a message to the caller. Raises: RateLimited."""
        count_of = EVENTS_OF.get(call.method)
        if count_of is None:
            return
        inside = self._inside[id(call)]
        inside.events = count_of(message)
        if inside.caller is not None:
            refused = inside.caller.add_events(inside.events, self._clock.monotonic())
            if refused is not None:
                raise _error(refused, "caller")

    def admit(self, call: Call, tenant: str) -> None:
        """Count the call, once, and the events of its message to a tenant that it means.

        For whoever looks tenants up; several in one call are each counted. Raises: RateLimited.
        """
        inside = self._inside.get(id(call))
        if inside is None:  # work without a call of its own
            return
        if tenant == inside.tenant:
            usage = inside.tenant_usage
        elif not inside.tenant:
            usage = self._entered(tenant, call)
            inside.tenant, inside.tenant_usage = tenant, usage
        else:
            usage = self._further(inside, tenant, call)
        if usage is not None and inside.events:
            events, inside.events = inside.events, 0
            refused = usage.add_events(events, self._clock.monotonic())
            if refused is not None:
                raise _error(refused, "tenant")

    def _entered(self, tenant: str, call: Call) -> Usage | None:
        """Count the call in. Raises: RateLimited."""
        usage = self._tenants.of(tenant)
        if usage is not None:
            refused = usage.enter(call.arrived_at)
            if refused is not None:
                raise _error(refused, "tenant")
        return usage

    def _further(self, inside: _Inside, tenant: str, call: Call) -> Usage | None:
        if inside.further is None:
            inside.further = {}
        if tenant not in inside.further:
            inside.further[tenant] = self._entered(tenant, call)
        return inside.further[tenant]

    def after(self, call: Call, error: BaseException | None) -> None:
        """Give back what the call held."""
        inside = self._inside.pop(id(call), None)
        if inside is None:
            return
        if inside.caller is not None:
            inside.caller.in_flight -= 1
        if inside.tenant_usage is not None:
            inside.tenant_usage.leave()
        for usage in (inside.further or {}).values():
            if usage is not None:
                usage.leave()


async def _refuse_later(refused: Refused, seconds: float) -> None:
    await asyncio.sleep(max(0.0, seconds))
    raise _error(refused, "caller")


def _error(refused: Refused, whose: str) -> RateLimited:
    return RateLimited(
        f"The {whose}'s limit {refused.limit} is used up. Wait as RetryInfo says and try again.",
        retry_after_s=max(refused.retry_after_s, 0.01),
        metadata={"limit": refused.limit, "whose": whose},
    )
