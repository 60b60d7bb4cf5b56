"""How much one caller or tenant may use: requests and events a second, calls at once.

Decides in memory, without waiting. Where replicas share the limits (limit_sharing.py), each may always use its share
of them, and more while the fleet's common balance allows it; alone, a replica's share is all of it. Whom a limit
belongs to, and what becomes of a refused call, is for whoever asks. Source: issue 8, point 7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.core.rights import CallLimits

BURST_S = 1.0
"""A second's worth may come at once."""
SHARE_BURST_S = 0.2
"""Of its share a replica gives less at once: a burst is paid from the fleet's balance."""
REFUSALS_PER_S = 50.0
"""Refusals of one name leave no faster, or a flood would be as dear as the calls that it is refused: so many are met by
less than one in a hundred of others' calls."""
REFUSALS_AT_ONCE = 50
"""So many refusals leave without being paced: an ordinary excess."""
LONGEST_PACE_S = 20.0
MAX_NAMES = 20_000
"""Names that are remembered. Beyond it, those that nothing runs for are forgotten."""

Explain = Callable[[str], CallLimits]
"""Returns what a name may use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Which limit is used up, by its name in `CallLimits`, and when to come again."""

    limit: str
    retry_after_s: float


class Rate:
    """So much a second. The moments say until when what was taken is paid for by the passing of time."""

    __slots__ = ("_credit", "_paid_until", "_per_s", "_share", "_share_paid_until", "spent")

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._paid_until = 0.0
        self._share = 1.0
        self._share_paid_until = 0.0
        self._credit = 0.0
        self.spent = 0.0
        """What was taken since the fleet was told."""

    def take(self, cost: float, now: float) -> float:
        """Take so much; return 0, or for how many seconds it is too much, and then nothing was taken.

        What is more than a second's worth by itself passes when nothing is owed, and is owed then.
        """
        per_s = self._per_s
        paid = self._paid_until if self._paid_until > now else now
        requested_wait_s = cost / per_s
        late_s = paid + (requested_wait_s if requested_wait_s < BURST_S else BURST_S) - now - BURST_S
        if late_s > 1e-9:
            return late_s
        if self._share < 1.0:
            share_late_s = self._take_share(cost, now)
            if share_late_s > 0:
                if self._credit < cost:
                    return share_late_s
                self._credit -= cost
        self._paid_until = paid + requested_wait_s
        self.spent += cost
        return 0.0

    def settle(self, *, balance: float, replicas: int) -> None:
        """Take over what the fleet knows: its common balance, and among how many it is shared now."""
        self._share = 1.0 / max(1, replicas)
        self._credit = max(0.0, min(balance, self._per_s)) * self._share

    def lose_fleet(self) -> None:
        """Go on with the own share alone."""
        self._credit = 0.0

    @property
    def per_s(self) -> float:
        """The rate of the whole fleet."""
        return self._per_s

    def _take_share(self, cost: float, now: float) -> float:
        per_s = self._per_s * self._share
        paid = self._share_paid_until if self._share_paid_until > now else now
        requested_wait_s = cost / per_s
        late_s = paid + (requested_wait_s if requested_wait_s < SHARE_BURST_S else SHARE_BURST_S) - now - SHARE_BURST_S
        if late_s > 1e-9:
            return late_s
        self._share_paid_until = paid + requested_wait_s
        return 0.0


class Usage:
    """What one name uses on this replica. `name` has its kind before it, such as `caller:game`."""

    __slots__ = ("_refusals_paid_until", "bound", "events", "in_flight", "limits", "name", "requests", "was_active")

    def __init__(self, name: str, limits: CallLimits) -> None:
        self.name = name
        self.in_flight = 0
        self.was_active = False
        self._refusals_paid_until = 0.0
        self.take_over(limits)

    def take_over(self, limits: CallLimits) -> None:
        """Go on with these limits; calls that run go on."""
        self.limits = limits
        self.requests = None if limits.requests_per_s is None else Rate(limits.requests_per_s)
        self.events = None if limits.events_per_s is None else Rate(limits.events_per_s)
        self.bound = limits.concurrent
        """How many calls may run here at once: the limit less what the other replicas have."""

    def enter(self, now: float) -> Refused | None:
        """Count one call in, or say why not; a refused one is not counted."""
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
        """Count one call out."""
        self.in_flight -= 1

    def add_events(self, count: int, now: float) -> Refused | None:
        """Count so many events in, all or none."""
        if self.events is None or count == 0:
            return None
        late_s = self.events.take(float(count), now)
        return Refused(limit="events_per_s", retry_after_s=late_s) if late_s > 0 else None

    def pace_refusal(self, now: float) -> float:
        """Return for how many seconds to keep a refusal back, so that a flood is answered at a rate that we choose."""
        paid = max(self._refusals_paid_until, now) + 1.0 / REFUSALS_PER_S
        self._refusals_paid_until = min(paid, now + LONGEST_PACE_S)
        return max(0.0, paid - now - REFUSALS_AT_ONCE / REFUSALS_PER_S)


class Limiter:
    """Usage by name, of one kind: callers, or tenants."""

    def __init__(self, kind: str, limits_of: Explain) -> None:
        self._kind = kind
        self._limits_of = limits_of
        self._known: dict[str, Usage | None] = {}

    def of(self, name: str) -> Usage | None:
        """Return what is kept of a name; None where nothing bounds it."""
        found = self._known.get(name, _UNKNOWN)
        return self._look_up(name) if found is _UNKNOWN else found

    def active(self) -> list[Usage]:
        """Return what was used since the last time, and what is in use."""
        found = [one for one in self._known.values() if one is not None and (one.was_active or one.in_flight)]
        for one in found:
            one.was_active = False
        return found

    def reload(self) -> None:
        """Ask anew what each name may use: the configuration changed."""
        for name, usage in list(self._known.items()):
            limits = _bounded(self._limits_of(name))
            if usage is None or limits is None:
                # Whoever runs keeps its usage until it leaves; the next call begins with the new one.
                del self._known[name]
            elif usage.limits != limits:
                usage.take_over(limits)

    def _look_up(self, name: str) -> Usage | None:
        if len(self._known) >= MAX_NAMES:
            for idle in [key for key, one in self._known.items() if one is None or not one.in_flight]:
                del self._known[idle]
        limits = _bounded(self._limits_of(name))
        usage = None if limits is None else Usage(f"{self._kind}:{name}", limits)
        self._known[name] = usage
        return usage


def _bounded(limits: CallLimits) -> CallLimits | None:
    return None if limits == _UNBOUNDED else limits


_UNBOUNDED = CallLimits()
_UNKNOWN: Any = object()
