"""Durable events for tests."""

from __future__ import annotations

import hashlib
import itertools

from gateway.core.types import TenantId
from gateway.outbox.record import Admit, Admitted, DeliveryResult, NewEvent, Settle, Settled, Take, Taken, TakenEvent
from gateway.outbox.store import EventQueue
from tests.evidence.wallet_factory import soon

TENANT = TenantId("tenant-one")
LEASE_US = 20_000_000
leases = itertools.count(1)


def new_event(
    event_id: str, user: str = "ada", *, board: str = "weekly", content: str = "5", is_id_given: bool = True
) -> NewEvent:
    """An event whose digest is that of user, board and content."""
    return NewEvent(
        event_id=event_id,
        is_id_given=is_id_given,
        digest=hashlib.sha256(f"{user}/{board}/{content}".encode()).digest(),
        leaderboard_id=board,
        user_id=user,
        body=f'{{"event_id":"{event_id}","user_id":"{user}","say":"\\u0000 \\"ü\\""}}'.encode(),
    )


async def admit(queue: EventQueue, *events: NewEvent, tenant: TenantId = TENANT) -> list[str]:
    """Take events in; return their standings."""
    return [one.state.value for one in await admitted(queue, *events, tenant=tenant)]


async def admitted(queue: EventQueue, *events: NewEvent, tenant: TenantId = TENANT) -> tuple[Admitted, ...]:
    return await queue.admit(Admit(tenant_id=tenant, events=events), soon())


async def take(queue: EventQueue, most: int = 100, *, tenant: TenantId = TENANT) -> tuple[int, Taken]:
    """Lease the due events. Return the lease and its events."""
    lease_id = next(leases)
    taken = await queue.take(Take(tenant_id=tenant, max_keys=most, lease_id=lease_id, lease_us=LEASE_US), soon())
    return lease_id, taken


async def settle(queue: EventQueue, lease_id: int, *outcomes: Settled) -> int:
    return await queue.settle(Settle(lease_id=lease_id, outcomes=outcomes), soon())


def delivered(event: TakenEvent) -> Settled:
    return Settled(event=event, result=DeliveryResult.DELIVERED)


def dead(event: TakenEvent, reason: str = "PHOENIX_REFUSED_INPUT", *, first_sent_at_us: int | None = None) -> Settled:
    return Settled(
        event=event,
        result=DeliveryResult.DEAD,
        reason=reason,
        detail="phoenix_status=400",
        first_sent_at_us=first_sent_at_us,
    )


def again(event: TakenEvent, wait_s: float = 0.0, *, first_sent_at_us: int | None = None) -> Settled:
    return Settled(
        event=event, result=DeliveryResult.AGAIN, wait_us=round(wait_s * 1_000_000), first_sent_at_us=first_sent_at_us
    )


def ids(taken: Taken) -> list[str]:
    return [event.event_id for event in taken.events]
