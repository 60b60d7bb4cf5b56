"""What goes into the queue of durable events and comes out of it: plain data, no SQL.

What an event's failure means, and how long to wait, is the action's to say. Source: issue 5, points 4 to 6.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, field

from gateway.core.types import TenantId


def lane_of(tenant_id: TenantId, leaderboard_id: str, user_id: str) -> int:
    """Return the number of a lane: one user on one board of one tenant, whose events keep their order."""
    # No part holds a NUL: the contract's rules keep control characters out.
    name = f"{tenant_id}\0{leaderboard_id}\0{user_id}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big", signed=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event that is to be kept until Phoenix has it. `digest`: of its decoded content; `body`: as it is sent."""

    event_id: str
    is_id_given: bool
    digest: bytes
    leaderboard_id: str
    user_id: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admit:
    """Take these events in, all or none, but for those whose id is known."""

    tenant_id: TenantId
    events: tuple[NewEvent, ...]


class Standing(enum.Enum):
    """What is known of an event's id."""

    NEW = "new"
    """Nothing so far: the event is committed now."""
    QUEUED = "queued"
    """The same event waits here already."""
    DELIVERED = "delivered"
    """Phoenix has the same event."""
    DEAD = "dead"
    """The same event is a dead letter."""
    REUSED = "reused"
    """The id belongs to another event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """What became of one event. `accepted_at_us`: of the first one; `reason`: of a dead letter."""

    standing: Standing
    accepted_at_us: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Lease the first event of up to so many lanes of a tenant, and mark them as about to be sent.

    `max_bytes`: of their bodies, but for the first one's. `lease_id`: a number that nobody else uses.
    """

    tenant_id: TenantId
    max_lanes: int
    lease_id: int
    lease_us: int
    max_bytes: int = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenEvent:
    """A leased event. `first_sent_at_us`: when an earlier sending began that may have reached Phoenix; None: none did.

    `attempts`: this one included.
    """

    sequence: int
    lane: int
    event_id: str
    is_id_given: bool
    leaderboard_id: str
    user_id: str
    accepted_at_us: int
    attempts: int
    first_sent_at_us: int | None
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was leased, at which time of the store's. `next_due_us`: when more is due, where nothing was."""

    events: tuple[TakenEvent, ...]
    now_us: int
    next_due_us: int | None


class DeliveryResult(enum.Enum):
    """What became of a leased event."""

    DELIVERED = "delivered"
    DEAD = "dead"
    AGAIN = "again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """How the sending of one event ended.

    `reason` and `detail` are those of a dead letter. For an event that is to be tried again: `wait_us` until then, and
    `first_sent_at_us` as it must stand from now on (None: Phoenix certainly does not have it).
    """

    event: TakenEvent
    fate: DeliveryResult
    reason: str = ""
    detail: str = ""
    wait_us: int = 0
    first_sent_at_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Write down how the events of a lease ended, and let their lanes go on. Returns how many it still held."""

    lease_id: int
    outcomes: tuple[Settled, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Give back a lease of which nothing was sent, as if it had not been taken. Returns how many lanes it held."""

    lease_id: int
    lease_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """What waits in the queue of all tenants. `oldest_at_us`: when the first of it was accepted."""

    events: int
    size_bytes: int
    dead_letters: int
    oldest_at_us: int | None
    now_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that was given up. `first_sent_at_us`: only where nobody knows whether Phoenix has it."""

    sequence: int
    event_id: str
    leaderboard_id: str
    user_id: str
    reason: str
    detail: str
    accepted_at_us: int
    first_sent_at_us: int | None
    died_at_us: int
    attempts: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterQuery:
    """Which dead letters of a tenant: empty filters let all pass; `after`: the last sequence of the page before."""

    tenant_id: TenantId
    leaderboard_id: str = ""
    reason: str = ""
    event_ids: tuple[str, ...] = ()
    after: int = 0
    limit: int = 100
