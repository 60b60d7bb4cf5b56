"""Events: the service, what is remembered of event ids, and the queue of durable events."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import uuid_utils

from gateway.actions.events.dead_letters import DeadLetters
from gateway.actions.events.event_memory import EventMemory
from gateway.actions.events.queue_events import QueueEvents
from gateway.actions.events.submit_events import SubmitEvents
from gateway.cache.client import RedisCache
from gateway.cache.event_ids import RedisEventIds
from gateway.config import Config
from gateway.core.types import TenantId
from gateway.interceptors.validation import validate
from gateway.outbox.delivery import OutboxDelivery
from gateway.outbox.heartbeat import Heartbeat
from gateway.outbox.queue_level import QueueLevel
from gateway.outbox.queue_worker import QueueWorker
from gateway.outbox.store import EventQueue
from gateway.resilience.clock import Clock
from gateway.server.assembly.controls import CallControls
from gateway.server.assembly.tenants import Tenants
from gateway.services.events import EventService
from gateway.services.ordered_acks import StreamGate
from gateway.store.database import Database
from gateway.telemetry.call_stories import CallStories
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.spans import Linked


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """The service, and what runs beside it.

    `memory` writes the last event ids to Redis when it closes. `streams` closes when the gateway drains.
    `worker` delivers from `queue`, so it stops before the queue does.
    """

    service: EventService
    memory: EventMemory
    streams: StreamGate
    queue: EventQueue
    worker: QueueWorker


def build_events(
    config: Config,
    tenants: Tenants,
    database: Database,
    redis: RedisCache | None,
    controls: CallControls,
    clock: Clock,
    metrics: Metrics,
    callers_wait: Callable[[], bool],
    linked: Linked,
    stories: CallStories,
) -> Events:
    """Return everything for events, not started yet.

    Args: `callers_wait`, `linked`: as OutboxDelivery; `stories`: keeps how events ended.
    """
    streams = StreamGate()
    queue = EventQueue(database, clock=clock, observer=metrics)
    level = QueueLevel(config.queue)
    worker = _queue_worker(
        *(tenants, queue, level, controls, clock, metrics),
        callers_wait=lambda: queue.is_busy or callers_wait(),
        linked=linked,
    )
    counted = metrics.queue.events
    memory = EventMemory(clock, _shared_event_ids(config, redis, clock, metrics), on_event=metrics.event_sending)
    submit = SubmitEvents(
        tenants.directory,
        clock,
        lambda: str(uuid_utils.uuid7()),
        memory,
        queue=QueueEvents(queue, level, wake=worker.wake, on_event=counted),
        on_results=stories.add_events,
    )
    dead_letters = DeadLetters(tenants.directory, queue, clock, wake=worker.wake, on_event=counted)
    return Events(
        service=EventService(submit, validate, streams, dead_letters=dead_letters),
        memory=memory,
        streams=streams,
        queue=queue,
        worker=worker,
    )


def _queue_worker(
    tenants: Tenants,
    queue: EventQueue,
    level: QueueLevel,
    controls: CallControls,
    clock: Clock,
    metrics: Metrics,
    callers_wait: Callable[[], bool],
    linked: Linked,
) -> QueueWorker:
    series = metrics.queue
    heart = Heartbeat(queue, clock, f"{socket.gethostname()}/{os.getpid()}", tuple(tenants.event_clients))
    deliveries = {
        tenant_id: OutboxDelivery(
            tenant_id,
            clients.queued,
            queue,
            level,
            heart,
            clock,
            random=random.random,
            on_event=_on_delivery(tenant_id, series.events, controls),
            on_dead=series.died,
            may_send=lambda tenant_id=tenant_id: controls.may_deliver(tenant_id),  # type: ignore[misc]
            callers_wait=callers_wait,
            linked=linked,
        )
        for tenant_id, clients in tenants.event_clients.items()
    }
    return QueueWorker(
        deliveries,
        queue,
        level,
        heart,
        clock,
        on_depth=series.measured,
        on_purged=series.purged,
        on_taken_over=partial(series.events, "taken_over"),
    )


def _on_delivery(
    tenant_id: TenantId, count: Callable[[str, int], None], controls: CallControls
) -> Callable[[str, int], None]:
    """Return what counts a tenant's deliveries, and writes to the audit log what was sent."""

    def on_delivery(name: str, events: int) -> None:
        count(name, events)
        if name == "delivered":
            controls.delivered(tenant_id, events)

    return on_delivery


def _shared_event_ids(config: Config, redis: RedisCache | None, clock: Clock, metrics: Metrics) -> RedisEventIds | None:
    if redis is None or config.redis is None:
        return None
    return RedisEventIds(cache=redis, seal_keys=config.redis.seal_keys, clock=clock, on_event=metrics.event_sending)
