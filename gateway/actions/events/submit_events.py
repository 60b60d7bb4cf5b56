"""Submits events to Phoenix and says of each what became of it: singly, in batches, and in streams.

Put together here: one tenant's bound (backlog.py), what is remembered of ids (remember_events.py), and the ways out
(coalesce.py for single events, deliver_events.py for many). Durable events go into the store instead
(queue_events.py). Nothing is sent twice but where Phoenix deduplicates; an answer that was lost comes up as
OutcomeUnknown. Source: API.md, EventService; issue 5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from gateway.actions.events.backlog import Backlog, BacklogSettings
from gateway.actions.events.coalesce import Coalescer, CoalesceSettings
from gateway.actions.events.deliver_events import Delivery, Order
from gateway.actions.events.event_batch import EventBatch
from gateway.actions.events.queue_events import QueueEvents
from gateway.actions.events.remember_events import EventMemory
from gateway.actions.shared.call import Call
from gateway.actions.shared.contexts import TenantContext
from gateway.actions.shared.directory import TenantDirectory
from gateway.core.types import TenantId
from gateway.core.wire import Event
from gateway.errors import GatewayError, OutcomeUnknown, StoreUnavailable
from gateway.outbox.event_sender import EventSender
from gateway.outbox.pending_event import Failed, Submitted
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

__all__ = ["EventStream", "Failed", "SubmitEvents", "SubmitSettings", "Submitted"]

Result = Submitted | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitSettings:
    """Bounds and patience, for each tenant."""

    backlog: BacklogSettings = field(default_factory=BacklogSettings)
    coalesce: CoalesceSettings = field(default_factory=CoalesceSettings)
    stream_message_s: float = 30.0
    """How long the events of one message of a stream are tried: streams have no deadline that would end it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantPipeline:
    """What one tenant's events pass through."""

    room: TenantContext
    backlog: Backlog
    coalescer: Coalescer
    delivery: Delivery


class SubmitEvents:
    """The action behind SubmitEvent, SubmitEvents and StreamEvents."""

    def __init__(
        self,
        tenants: TenantDirectory[TenantContext],
        clock: Clock,
        new_event_id: Callable[[], str],
        memory: EventMemory | None = None,
        settings: SubmitSettings | None = None,
        queue: QueueEvents | None = None,
    ) -> None:
        """Args: `queue`: where durable events go; without one they are refused."""
        self._queue = queue
        self._tenants = tenants
        self._clock = clock
        self._new_event_id = new_event_id
        self._memory = EventMemory(clock) if memory is None else memory  # an empty one is false
        self._settings = settings or SubmitSettings()
        self._desks: dict[TenantId, TenantPipeline] = {}

    def new_event_id(self) -> str:
        """Return an id for an event that came without one: a UUIDv7."""
        return self._new_event_id()

    async def one(
        self, tenant_id: str, event: Event, call: Call, *, is_id_given: bool, durable: bool = False
    ) -> Submitted:
        """Submit one event.

        Args: `is_id_given`: the id is the caller's; `durable`: answered once it is committed. Raises: the GatewayError
        that it failed with.
        """
        if durable:
            (result,) = await self.many(tenant_id, [event], {0} if is_id_given else frozenset(), call, durable=True)
            return _accepted(result)
        desk = self.desk(tenant_id, call)
        batch = self.batch(desk, [event], {0} if is_id_given else frozenset())
        if batch.items:
            item = batch.items[0]
            desk.backlog.take(1, batch.size_bytes)
            try:
                await batch.run(lambda: desk.coalescer.send(item, call.deadline), call.deadline)
            finally:
                desk.backlog.give_back(1, batch.size_bytes)
        return _accepted(batch.results()[0])

    async def many(
        self,
        tenant_id: str,
        events: Sequence[Event | Failed],
        given: Set[int],
        call: Call,
        *,
        durable: bool = False,
    ) -> list[Result]:
        """Submit the events that are none of the Failed; return one result per event, in order.

        Args: `given`: places of the events whose id is the caller's; `durable`: answered once they are committed.
        Raises: TenantUnknown, InvalidField, Overloaded; after that every failure is a result. When the caller leaves,
        what was not sent so far is not sent.
        """
        desk = self.desk(tenant_id, call)
        if durable:
            return await self._put(desk, events, given, call)
        call.record.events = len(events)
        batch = self.batch(desk, events, given)
        count, size_bytes = len(batch.items), batch.size_bytes
        desk.backlog.take(count, size_bytes)
        try:
            await batch.run(lambda: desk.delivery.call(batch.to_send, call.deadline), call.deadline)
        finally:
            desk.backlog.give_back(count, size_bytes)
        return batch.results()

    async def _put(
        self, desk: TenantPipeline, events: Sequence[Event | Failed], given: Set[int], call: Call
    ) -> list[Result]:
        queue = self.queue()
        call.record.events = len(events)
        call.record.delivery = "durable"
        parcel = queue.pack(desk.room.tenant_id, events, given, send_event_id=desk.room.send_event_id)
        backlog = queue.backlog(desk.room.tenant_id)
        backlog.take(parcel.count, parcel.size_bytes)
        try:
            return await queue.put(parcel, call.deadline)
        finally:
            backlog.give_back(parcel.count, parcel.size_bytes)

    def queue(self) -> QueueEvents:
        """Return where durable events go. Raises: StoreUnavailable where there is no such place."""
        if self._queue is None:
            raise StoreUnavailable("This gateway keeps no durable events.", may_be_committed=False)
        return self._queue

    def stream(self, call: Call) -> EventStream:
        """Return what takes the messages of one stream."""
        return EventStream(self, call, self._clock, self._settings.stream_message_s)

    def desk(self, tenant_id: str, call: Call) -> TenantPipeline:
        """Return the tenant's, made at its first event. Raises: NotAllowed, TenantUnknown, InvalidField."""
        room = self._tenants.resolve(tenant_id, call)
        desk = self._desks.get(room.tenant_id)
        if desk is None:
            sender = EventSender(room.events, self._clock)
            desk = TenantPipeline(
                room=room,
                backlog=Backlog(self._settings.backlog),
                coalescer=Coalescer(sender, self._settings.coalesce),
                delivery=Delivery(sender),
            )
            self._desks[room.tenant_id] = desk
        return desk

    def batch(self, desk: TenantPipeline, events: Sequence[Event | Failed], given: Set[int]) -> EventBatch:
        """Return the events as one batch of the tenant's, serialised."""
        return EventBatch(
            desk.room.tenant_id,
            events,
            given,
            send_event_id=desk.room.send_event_id,
            deduplicates=desk.room.events.deduplicates,
            memory=self._memory,
        )


class EventStream:
    """One stream's messages: begun in their order, under way side by side, the order of each lane kept."""

    def __init__(self, submit: SubmitEvents, call: Call, clock: Clock, message_s: float) -> None:
        self._submit = submit
        self._call = call
        self._clock = clock
        self._message_s = message_s
        self._orders: dict[TenantId, Order] = {}
        self._count = 0

    async def begin(
        self, tenant_id: str, events: Sequence[Event | Failed], given: Set[int], *, durable: bool = False
    ) -> asyncio.Task[list[Result]]:
        """Begin to submit a message, once there is room for it; return what brings one result per event, in order.

        Messages must be begun one after the other. Cancelling the task sends no more of this message. Args: `durable`:
        its events are done once they are committed.
        """
        self._count += len(events)
        self._call.record.events = self._count
        loop = asyncio.get_running_loop()
        try:
            desk = self._submit.desk(tenant_id, self._call)
            if durable:
                return await self._begin_durable(desk, events, given)
            batch = self._submit.batch(desk, events, given)
            count, size_bytes = len(batch.items), batch.size_bytes
            await desk.backlog.take_in_turn(count, size_bytes, self._call.deadline)
        except GatewayError as error:
            return loop.create_task(_all_failed(events, error))
        deadline = Deadline.after(self._message_s, self._clock).earlier(self._call.deadline)
        order = self._orders.setdefault(desk.room.tenant_id, Order())
        try:
            await batch.claim()
        except BaseException:
            desk.backlog.give_back(count, size_bytes)
            raise
        sending = desk.delivery.begin(batch.to_send, order, deadline)

        async def finish() -> list[Result]:
            try:
                await batch.finish(lambda: sending, deadline)
            finally:
                desk.backlog.give_back(count, size_bytes)
            return batch.results()

        return await _begun(finish())

    async def _begin_durable(
        self, desk: TenantPipeline, events: Sequence[Event | Failed], given: Set[int]
    ) -> asyncio.Task[list[Result]]:
        """Raises: the GatewayError with which all events of the message fail."""
        self._call.record.delivery = "durable"
        queue = self._submit.queue()
        parcel = queue.pack(desk.room.tenant_id, events, given, send_event_id=desk.room.send_event_id)
        backlog = queue.backlog(desk.room.tenant_id)
        await backlog.take_in_turn(parcel.count, parcel.size_bytes, self._call.deadline)
        deadline = Deadline.after(self._message_s, self._clock).earlier(self._call.deadline)

        async def finish() -> list[Result]:
            try:
                return await queue.put(parcel, deadline)
            except GatewayError as error:
                return await _all_failed(events, error)
            finally:
                backlog.give_back(parcel.count, parcel.size_bytes)

        # Begun in their order, messages are committed in their order.
        return await _begun(finish())


def _accepted(result: Result) -> Submitted:
    """Return the result of a single event. Raises: the error that it failed with; one in doubt names the event's id."""
    if isinstance(result, Submitted):
        return result
    error = result.error
    if isinstance(error, OutcomeUnknown):
        named = {**error.metadata, "event_id": result.event_id}
        raise OutcomeUnknown(error.message, effect=error.effect, metadata=named) from error
    raise error


async def _begun(work: Coroutine[Any, Any, list[Result]]) -> asyncio.Task[list[Result]]:
    """Return the work as a task that has begun: one that is cancelled before it began would clean nothing up."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        await asyncio.sleep(0)
    except BaseException:
        task.cancel()
        raise
    return task


async def _all_failed(events: Sequence[Event | Failed], error: GatewayError) -> list[Result]:
    return [one if isinstance(one, Failed) else Failed(event_id=one.event_id, error=error) for one in events]
