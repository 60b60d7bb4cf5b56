"""Share limits in the fleet: ten times per second, report this replica's usage and get the usage of the others.

No call waits for this. While the shared cache is down, a replica continues with its share among the replicas that it
last saw. shared_limits.py implements the exchange in Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.resilience.limiter import Limiter, Usage

INTERVAL_S = 0.1
MAX_AT_ONCE = 200
"""Names in one exchange."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one name used here since the last exchange. A rate of 0 means no limit."""

    name: str
    requests_per_s: float
    requests: float
    events_per_s: float
    events: float
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetUsage:
    """The fleet's usage of one name. Balances may be negative; `others_in_flight` excludes this replica."""

    requests: float
    events: float
    others_in_flight: int
    replicas: int
    """The number of replicas that use the name now, including this one."""


class SharedLimits(Protocol):
    """The exchange between replicas."""

    async def exchange(self, spent: Sequence[Spent]) -> Sequence[FleetUsage] | None:
        """Report usage and return the fleet's usage of each name, in order. None: nothing was sent."""
        ...


class LimitSharing:
    """The background task that exchanges usage."""

    def __init__(self, limiters: Sequence[Limiter], shared: SharedLimits) -> None:
        self._limiters = tuple(limiters)
        self._shared = shared

    async def run(self) -> None:
        """Exchange until cancelled."""
        while True:
            await self.exchange_now()
            await asyncio.sleep(INTERVAL_S)

    async def exchange_now(self) -> None:
        """Exchange once, for all names in use."""
        active = [usage for limiter in self._limiters for usage in limiter.active()]
        for first in range(0, len(active), MAX_AT_ONCE):
            await self._exchange(active[first : first + MAX_AT_ONCE])

    async def _exchange(self, usages: Sequence[Usage]) -> None:
        reported = [_spent(one) for one in usages]
        fleet_usages = await self._shared.exchange(reported)
        if fleet_usages is None:
            for one in usages:
                one.lose_fleet()
            return
        for one, sent, fleet in zip(usages, reported, fleet_usages, strict=True):
            _settle(one, sent, fleet)


def _spent(usage: Usage) -> Spent:
    requests, events = usage.requests, usage.events
    return Spent(
        name=usage.name,
        requests_per_s=0.0 if requests is None else requests.per_s,
        requests=0.0 if requests is None else requests.spent,
        events_per_s=0.0 if events is None else events.per_s,
        events=0.0 if events is None else events.spent,
        in_flight=usage.in_flight,
    )


def _settle(usage: Usage, reported: Spent, fleet: FleetUsage) -> None:
    """Take over the fleet's usage. Tokens spent during the exchange are carried over and reported next time."""
    requests, events = usage.requests, usage.events
    if requests is not None:
        requests.spent = max(0.0, requests.spent - reported.requests)
        requests.settle(balance=fleet.requests - requests.spent, replicas=fleet.replicas)
    if events is not None:
        events.spent = max(0.0, events.spent - reported.events)
        events.settle(balance=fleet.events - events.spent, replicas=fleet.replicas)
    limit = usage.limits.concurrent
    if limit is not None:
        # Never below this replica's share, so that claims of others cannot block it.
        usage.bound = max(1, limit // max(1, fleet.replicas), limit - fleet.others_in_flight)
