"""The queue of durable events, put together: its store, its way in, its deliveries, its dead letters."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.actions.events.dead_letters import DeadLetters
from gateway.actions.events.queue_events import QueueEvents
from gateway.actions.shared.contexts import TenantContext
from gateway.actions.shared.directory import TenantDirectory
from gateway.config import Config
from gateway.core.types import TenantId
from gateway.outbox.delivery import OutboxDelivery
from gateway.outbox.queue_level import QueueLevel
from gateway.outbox.queue_worker import TendQueue
from gateway.outbox.store import EventQueue
from gateway.resilience.clock import Clock
from gateway.server.clients import EventsWays
from gateway.server.controls import CallControls
from gateway.store.database import Database
from gateway.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableEvents:
    """Everything of it. The database stays open until `store` is stopped; `tending` is stopped before that."""

    store: EventQueue
    events: QueueEvents
    dead_letters: DeadLetters
    tending: TendQueue


def durable_events(
    config: Config,
    database: Database,
    ways: Mapping[TenantId, EventsWays],
    tenants: TenantDirectory[TenantContext],
    clock: Clock,
    metrics: Metrics,
    guards: CallControls,
) -> DurableEvents:
    """Return the queue of all tenants, not started yet."""
    store = EventQueue(database, clock=clock, observer=metrics)
    level = QueueLevel(config.queue)
    series = metrics.queue
    deliveries = {
        tenant_id: OutboxDelivery(
            tenant_id,
            way.queued,
            store,
            level,
            clock,
            chance=random.random,
            on_event=_heard(tenant_id, series.events, guards),
            on_dead=series.died,
            may_send=lambda tenant_id=tenant_id: guards.may_deliver(tenant_id),  # type: ignore[misc]
        )
        for tenant_id, way in ways.items()
    }
    tending = TendQueue(deliveries, store, level, clock, on_depth=series.measured, on_purged=series.purged)
    return DurableEvents(
        store=store,
        events=QueueEvents(store, level, wake=tending.wake, on_event=series.events),
        dead_letters=DeadLetters(tenants, store, clock, wake=tending.wake, on_event=series.events),
        tending=tending,
    )


def _heard(tenant_id: TenantId, count: Callable[[str, int], None], guards: CallControls) -> Callable[[str, int], None]:
    """Return who hears of a tenant's deliveries: its metrics, and the audit log of what was sent."""

    def hear(name: str, events: int) -> None:
        count(name, events)
        if name == "delivered":
            guards.delivered(tenant_id, events)

    return hear
