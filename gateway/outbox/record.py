"""The values that the queue of durable events takes and returns. No SQL.

delivery_result.py decides what a failure means and how long to wait.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, field

from gateway.core.types import TenantId


def ordering_key_of(tenant_id: TenantId, leaderboard_id: str, user_id: str) -> int:
    """Return the ordering key of a user on a board of a tenant. Events with the same key keep their order."""
    # No part contains a NUL, because the API's validation refuses control characters.
    name = f"{tenant_id}\0{leaderboard_id}\0{user_id}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big", signed=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to store until Phoenix has it. `digest`: of its decoded content; `body`: as it is sent.

    `trace`: names the call in its trace, for a link from the delivery; None if the call is not sampled.
    """

    event_id: str
    is_id_given: bool
    digest: bytes
    leaderboard_id: str
    user_id: str
    body: bytes = field(repr=False)
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admit:
    """Accept these events, all or none, except those whose id is known."""

    tenant_id: TenantId
    events: tuple[NewEvent, ...]


class AdmissionState(enum.Enum):
    """What the queue knows about an event id."""

    NEW = "new"
    """The id is new, and the event is committed now."""
    QUEUED = "queued"
    """The same event already waits."""
    DELIVERED = "delivered"
    """Phoenix has the same event."""
    DEAD = "dead"
    """The same event is a dead letter."""
    REUSED = "reused"
    """The id belongs to another event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The result for one event. `accepted_at_us`: of the first event with this id; `reason`: of a dead letter."""

    state: AdmissionState
    accepted_at_us: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Lease the first event of up to `max_keys` ordering keys of a tenant, and mark these events as about to be sent.

    `max_bytes`: total size of the bodies; the first body may be larger. `lease_id`: a unique number.
    """

    tenant_id: TenantId
    max_keys: int
    lease_id: int
    lease_us: int
    max_bytes: int = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenEvent:
    """A leased event. `first_sent_at_us`: when the first send that may have reached Phoenix began; None: none did.

    `attempts`: including this one. `trace`: as NewEvent has it.
    """

    sequence: int
    ordering_key: int
    event_id: str
    is_id_given: bool
    leaderboard_id: str
    user_id: str
    accepted_at_us: int
    attempts: int
    first_sent_at_us: int | None
    body: bytes = field(repr=False)
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The leased events, and the time for leases. `next_due_us`: if there are none, when the next one is due."""

    events: tuple[TakenEvent, ...]
    now_us: int
    next_due_us: int | None


class DeliveryResult(enum.Enum):
    """The result of a leased event."""

    DELIVERED = "delivered"
    DEAD = "dead"
    AGAIN = "again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The result of sending one event.

    `reason` and `detail`: for a dead letter. For an event to send again: `wait_us` until then, and the new value of
    `first_sent_at_us` (None: Phoenix certainly does not have the event).
    """

    event: TakenEvent
    result: DeliveryResult
    reason: str = ""
    detail: str = ""
    wait_us: int = 0
    first_sent_at_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Record the results of a lease's events and free their ordering keys. Result: how many the lease still held."""

    lease_id: int
    outcomes: tuple[Settled, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Release a lease of which nothing was sent, as if it had not been taken. Result: how many keys it held."""

    lease_id: int
    lease_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A row. `name`: host and process, for people."""

    number: int
    name: str
    beats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Count a beat. `begins`: with a new number. Result: 1, or 0 if the number is not, or no longer, this replica's."""

    number: int
    name: str
    begins: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Give back what a replica still holds, and remove its row. Result: the number of ordering keys.

    `beats`: of a dead replica; if it has beaten since, nothing happens. None: it says so itself.
    """

    number: int
    beats: int | None
    tenants: tuple[TenantId, ...]


REPLICA_NUMBERS = 1 << 30
_LEASES_OF_ONE = 1 << 32
_FIRST_LEASE = 1 << 62
"""Above the ids of leases of gateways without a number, which end by their time alone."""


def lease_id_of(number: int, count: int) -> int:
    """Return the id of a replica's lease."""
    return _FIRST_LEASE + number * _LEASES_OF_ONE + count


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """The size of the queue of all tenants. `oldest_at_us`: when its oldest event was accepted."""

    events: int
    size_bytes: int
    dead_letters: int
    oldest_at_us: int | None
    now_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that will not be sent again. `first_sent_at_us`: only if it is unknown whether Phoenix has it."""

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
    """A query for dead letters of a tenant. Empty filters match all; `after`: last sequence of the previous page."""

    tenant_id: TenantId
    leaderboard_id: str = ""
    reason: str = ""
    event_ids: tuple[str, ...] = ()
    after: int = 0
    limit: int = 100
