"""Tells the fleet ten times a second what this replica used of each limit, and takes over what the others did.

No call waits for it. While the fleet cannot be reached, a replica goes on with its share among those that it last saw.
Where the fleet meets is keys/redis_limits.py's matter. Source: issue 8, point 7.
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
    """What one name used here since the last exchange; a rate of 0 is none."""

    name: str
    requests_per_s: float
    requests: float
    events_per_s: float
    events: float
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the fleet knows of one name. Balances may be negative; `others_in_flight` leaves out this replica's."""

    requests: float
    events: float
    others_in_flight: int
    replicas: int
    """How many use it now, this one among them."""


class SharedLimits(Protocol):
    """Where replicas meet."""

    async def exchange(self, spent: Sequence[Spent]) -> Sequence[Standing] | None:
        """Tell what was used, learn how each name stands, in order; None: out of reach, and nothing was told."""
        ...


class LimitSharing:
    """Runs beside the calls."""

    def __init__(self, limiters: Sequence[Limiter], shared: SharedLimits) -> None:
        self._limiters = tuple(limiters)
        self._shared = shared

    async def run(self) -> None:
        """Exchange until cancelled."""
        while True:
            await self.exchange_now()
            await asyncio.sleep(INTERVAL_S)

    async def exchange_now(self) -> None:
        """Exchange once, for every name that was used."""
        active = [usage for limiter in self._limiters for usage in limiter.active()]
        for first in range(0, len(active), MAX_AT_ONCE):
            await self._exchange(active[first : first + MAX_AT_ONCE])

    async def _exchange(self, usages: Sequence[Usage]) -> None:
        told = [_spent(one) for one in usages]
        standings = await self._shared.exchange(told)
        if standings is None:
            for one in usages:
                for rate in (one.requests, one.events):
                    if rate is not None:
                        rate.lose_fleet()
            return
        for one, said, standing in zip(usages, told, standings, strict=True):
            _settle(one, said, standing)


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


def _settle(usage: Usage, told: Spent, standing: Standing) -> None:
    """What was taken while the exchange was under way stays to be told, and lies on the new balance."""
    requests, events = usage.requests, usage.events
    if requests is not None:
        requests.spent = max(0.0, requests.spent - told.requests)
        requests.settle(balance=standing.requests - requests.spent, replicas=standing.replicas)
    if events is not None:
        events.spent = max(0.0, events.spent - told.events)
        events.settle(balance=standing.events - events.spent, replicas=standing.replicas)
    limit = usage.limits.concurrent
    if limit is not None:
        # Never below the own share, so that what others claim cannot shut this replica.
        usage.bound = max(1, limit // max(1, standing.replicas), limit - standing.others_in_flight)
