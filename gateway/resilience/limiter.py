"""Limits of a caller or tenant: requests and events per second, and concurrent calls.

The decision is made in memory, without waiting. If replicas share the limits (controls/limit_sharing.py), each may
always use its own share, and more while the fleet's common balance allows it. A single replica's share is everything.
Before it has met the others, or without a shared cache, each of several workers has an equal share of every limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.core.rights import CallLimits

BURST_S = 1.0
"""A burst of one second's worth is allowed."""
SHARE_BURST_S = 0.2
"""The burst of a replica's own share is smaller: larger bursts use the fleet's balance."""
REFUSALS_PER_S = 50.0
"""Rate of refusals for one name. Without it, a flood would cost as much as accepted calls. At this rate, a flood
affects less than one in a hundred calls of others."""
REFUSALS_AT_ONCE = 50
"""This many refusals are sent without delay, for an ordinary excess."""
LONGEST_PACE_S = 20.0
MAX_NAMES = 20_000
"""Maximum remembered names. Above it, names without running calls are dropped."""

Explain = Callable[[str], CallLimits]
"""Returns the limits of a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The exceeded limit, by its name in `CallLimits`, and when to retry."""

    limit: str
    retry_after_s: float


class Rate:
    """A rate limit (GCRA): `_paid_until` is the time until which the cost taken so far is paid for by elapsed time."""

    __slots__ = (
        "_credit",
        "_paid_until",
        "_per_s",
        "_share",
        "_share_burst_s",
        "_share_paid_until",
        "_worker_share",
        "spent",
    )

    def __init__(self, per_s: float, workers: int = 1) -> None:
        self._per_s = per_s
        self._paid_until = 0.0
        self._worker_share = 1.0 / workers
        self._share = self._worker_share
        self._share_burst_s = BURST_S
        self._share_paid_until = 0.0
        self._credit = 0.0
        self.spent = 0.0
        """The cost taken since the last report to the fleet."""

    def take(self, cost: float, now: float) -> float:
        """Take the cost and return 0. If it exceeds the limit, take nothing and return the seconds to wait.

        A single cost above one second's worth passes if no earlier cost is outstanding.
        """
        per_s = self._per_s
        paid = self._paid_until if self._paid_until > now else now
        cost_s = cost / per_s
        late_s = paid + (cost_s if cost_s < BURST_S else BURST_S) - now - BURST_S
        if late_s > 1e-9:
            return late_s
        if self._share < 1.0:
            share_late_s = self._take_share(cost, now)
            if share_late_s > 0:
                if self._credit < cost:
                    return share_late_s
                self._credit -= cost
        self._paid_until = paid + cost_s
        self.spent += cost
        return 0.0

    def settle(self, *, balance: float, replicas: int) -> None:
        """Take over the fleet's common balance and the number of replicas that share it."""
        self._share = 1.0 / max(1, replicas)
        self._share_burst_s = SHARE_BURST_S
        self._credit = max(0.0, min(balance, self._per_s)) * self._share

    def lose_fleet(self) -> None:
        """Continue with this replica's own share only, at most that of a worker: an idle one may begin at any time."""
        self._credit = 0.0
        self._share = min(self._share, self._worker_share)

    def share_in_use(self, now: float) -> float:
        """Return how much of one second's worth was taken and is not paid for yet, 0 to 1."""
        return min(1.0, max(0.0, (self._paid_until - now) / BURST_S))

    @property
    def per_s(self) -> float:
        """The rate of the whole fleet."""
        return self._per_s

    def _take_share(self, cost: float, now: float) -> float:
        per_s = self._per_s * self._share
        paid = self._share_paid_until if self._share_paid_until > now else now
        cost_s = cost / per_s
        burst_s = self._share_burst_s
        late_s = paid + (cost_s if cost_s < burst_s else burst_s) - now - burst_s
        if late_s > 1e-9:
            return late_s
        self._share_paid_until = paid + cost_s
        return 0.0


class Usage:
    """The usage of one name on this replica. `name` starts with its kind, such as `caller:game`."""

    __slots__ = (
        "_refusals_paid_until",
        "_workers",
        "bound",
        "events",
        "in_flight",
        "limits",
        "name",
        "requests",
        "was_active",
    )

    def __init__(self, name: str, limits: CallLimits, workers: int = 1) -> None:
        self.name = name
        self._workers = workers
        self.in_flight = 0
        self.was_active = False
        self._refusals_paid_until = 0.0
        self.take_over(limits)

    def take_over(self, limits: CallLimits) -> None:
        """Apply new limits. Running calls continue."""
        self.limits = limits
        self.requests = None if limits.requests_per_s is None else Rate(limits.requests_per_s, self._workers)
        self.events = None if limits.events_per_s is None else Rate(limits.events_per_s, self._workers)
        self.bound = self._worker_bound()
        """The concurrent calls allowed here: the limit minus the calls on other replicas, or a worker's share."""

    def lose_fleet(self) -> None:
        """Continue without the others, with this replica's own share. Running calls continue."""
        for rate in (self.requests, self.events):
            if rate is not None:
                rate.lose_fleet()
        own = self._worker_bound()
        if self.bound is not None and own is not None:
            self.bound = min(self.bound, own)

    def _worker_bound(self) -> int | None:
        limit = self.limits.concurrent
        return None if limit is None else max(1, limit // self._workers)

    def enter(self, now: float) -> Refused | None:
        """Count a new call, or return the refusal. A refused call is not counted."""
        self.was_active = True
        if self.bound is not None and self.in_flight >= self.bound:
            return Refused(limit="concurrent", retry_after_s=0.1)
        if self.requests is not None:
            late_s = self.requests.take(1.0, now)
            if late_s > 0:
                return Refused(limit="requests_per_s", retry_after_s=late_s)
        self.in_flight += 1
        return None

    def leave(self) -> None:
        """Count the end of a call."""
        self.in_flight -= 1

    def add_events(self, count: int, now: float) -> Refused | None:
        """Count events, all or none."""
        if self.events is None or count == 0:
            return None
        late_s = self.events.take(float(count), now)
        return Refused(limit="events_per_s", retry_after_s=late_s) if late_s > 0 else None

    def pace_refusal(self, now: float) -> float:
        """Return how many seconds to delay a refusal, which limits the rate of answers to a flood."""
        paid = max(self._refusals_paid_until, now) + 1.0 / REFUSALS_PER_S
        self._refusals_paid_until = min(paid, now + LONGEST_PACE_S)
        return max(0.0, paid - now - REFUSALS_AT_ONCE / REFUSALS_PER_S)


class Limiter:
    """The usage of all names of one kind: callers or tenants."""

    def __init__(self, kind: str, limits_of: Explain, workers: int = 1) -> None:
        """Args: `workers`: the processes of this gateway, which share each limit equally unless they meet in Redis."""
        self._kind = kind
        self._limits_of = limits_of
        self._workers = workers
        self._known: dict[str, Usage | None] = {}

    def of(self, name: str) -> Usage | None:
        """Return the usage of a name; None if it has no limits."""
        found = self._known.get(name, _UNKNOWN)
        return self._look_up(name) if found is _UNKNOWN else found

    def active(self) -> list[Usage]:
        """Return the usage of names that were active since the last call, or have running calls."""
        found = [one for one in self._known.values() if one is not None and (one.was_active or one.in_flight)]
        for one in found:
            one.was_active = False
        return found

    def in_use(self, now: float) -> list[tuple[str, str, float, float]]:
        """Return what is used here: name, limit, its value, and the used share of it, 0 to 1."""
        found = []
        for one in self._known.values():
            if one is None:
                continue
            for limit, rate in (("requests_per_s", one.requests), ("events_per_s", one.events)):
                if rate is not None and (share := rate.share_in_use(now)) > 0:
                    found.append((one.name, limit, rate.per_s, share))
            if one.limits.concurrent and one.in_flight:
                found.append((one.name, "concurrent", one.limits.concurrent, one.in_flight / one.limits.concurrent))
        return found

    def reload(self) -> None:
        """Read the limits of each name again, after a change of the configuration."""
        for name, usage in list(self._known.items()):
            limits = _bounded(self._limits_of(name))
            if usage is None or limits is None:
                # Running calls keep the old usage until they end. The next call starts with a new one.
                del self._known[name]
            elif usage.limits != limits:
                usage.take_over(limits)

    def _look_up(self, name: str) -> Usage | None:
        if len(self._known) >= MAX_NAMES:
            for idle in [key for key, one in self._known.items() if one is None or not one.in_flight]:
                del self._known[idle]
        limits = _bounded(self._limits_of(name))
        usage = None if limits is None else Usage(f"{self._kind}:{name}", limits, self._workers)
        self._known[name] = usage
        return usage


def _bounded(limits: CallLimits) -> CallLimits | None:
    return None if limits == _UNBOUNDED else limits


_UNBOUNDED = CallLimits()
_UNKNOWN: Any = object()
