"""Submits events to Phoenix, one by one, in batches and in streams, and returns what became of each.

Every event takes the same steps, in this order. Each step returns what the next one needs:
1. serialise    `event_batch.py`: the events, validated by `services/events.py`, as the bytes that Phoenix gets.
   bound        `backlog.py`: refuses, or in a stream delays, what does not fit into the tenant's bound.
2. claim        `claim_ids.py`: claims the ids that callers chose in `event_memory.py`; known events are not sent.
3. send         `coalesce.py` for a single event, `phoenix/gamification/batch_sender.py` for many. Both use
                `event_sender.py`, which knows at any moment what became of each event: a caller may leave.
4. settle       `claim_ids.py`: remembers how the events ended, and adds the results of events that others sent.
Durable events go from step 1 to `queue_events.py`, which commits them. `outbox` delivers them later.

Nothing is sent twice unless Phoenix deduplicates. A lost answer is OutcomeUnknown. Source: API.md, EventService.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from gateway.actions.events.backlog import Backlog, BacklogSettings
from gateway.actions.events.claim_ids import ClaimedBatch, claim_ids, remember_doubts, results_of, settle_claims
from gateway.actions.events.coalesce import Coalescer, CoalesceSettings
from gateway.actions.events.event_batch import EventBatch, serialise
from gateway.actions.events.event_memory import EventMemory
from gateway.actions.events.event_stories import OnResults, ignore_results, note_left, note_results
from gateway.actions.events.queue_events import QueueEvents
from gateway.actions.shared.call import Call
from gateway.actions.shared.contexts import TenantContext
from gateway.actions.shared.directory import TenantDirectory
from gateway.core.event_ids import CALL_AND_CLOCKS_S, RESEND_WITHIN_S
from gateway.core.types import TenantId
from gateway.core.wire import Event
from gateway.errors import GatewayError, OutcomeUnknown, StoreUnavailable
from gateway.phoenix.gamification.batch_sender import BatchSender, Order
from gateway.phoenix.gamification.event_sender import EventSender, Sending
from gateway.phoenix.gamification.pending_event import Failed, Result, Submitted
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

Send = Callable[[Sending, Deadline], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitSettings:
    """Bounds and waits, for each tenant."""

    backlog: BacklogSettings = field(default_factory=BacklogSettings)
    coalesce: CoalesceSettings = field(default_factory=CoalesceSettings)
    stream_message_s: float = 30.0
    """How long the events of one stream message are tried. A stream has no deadline that would end this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantPipeline:
    """What the events of one tenant pass through."""

    context: TenantContext
    backlog: Backlog
    coalescer: Coalescer
    batches: BatchSender
    memory: EventMemory

    def serialise(self, events: Sequence[Event | Failed], given: Set[int]) -> EventBatch:
        """Step 1. Args: `given`: places of the events whose id the caller chose."""
        return serialise(self.context.tenant_id, events, given, send_event_id=self.context.send_event_id)

    async def claim(self, batch: EventBatch, deadline: Deadline) -> ClaimedBatch:
        """Step 2."""
        resend_within_s = RESEND_WITHIN_S - CALL_AND_CLOCKS_S if self.context.events.deduplicates else None
        return await claim_ids(self.memory, batch, resend_within_s=resend_within_s, deadline=deadline)

    async def send_and_settle(self, claimed: ClaimedBatch, send: Send, deadline: Deadline) -> list[Result]:
        """Steps 3 and 4. Cancelled, it sends no more, and settles with what is known."""
        sending = Sending(claimed.to_send)
        try:
            if claimed.to_send:
                await send(sending, deadline)
        finally:
            await settle_claims(self.memory, claimed, sending, deadline)
        sent = sending.results()
        remember_doubts(self.memory, claimed, sent)
        return await results_of(self.memory, claimed, sent, deadline)


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
        on_results: OnResults = ignore_results,
    ) -> None:
        """Args: `queue`: where durable events go; None: they are refused. `on_results`: keeps how events ended."""
        self._on_results = on_results
        self._queue = queue
        self._tenants = tenants
        self._clock = clock
        self.new_event_id = new_event_id
        """Returns an id for an event that came without one: a UUIDv7."""
        self._memory = EventMemory(clock) if memory is None else memory  # an empty one is false
        self._settings = settings or SubmitSettings()
        self._pipelines: dict[TenantId, TenantPipeline] = {}

    async def one(
        self, tenant_id: str, event: Event, call: Call, *, is_id_given: bool, durable: bool = False
    ) -> Submitted:
        """Submit one event.

        Args: `is_id_given`: the caller chose the id; `durable`: answer once the event is committed. Raises: the
        GatewayError with which it failed.
        """
        given = {0} if is_id_given else frozenset[int]()
        if durable:
            (result,) = await self.many(tenant_id, [event], given, call, durable=True)
        else:
            pipeline = self.pipeline(tenant_id, call)
            results = await self._submit(pipeline, pipeline.serialise([event], given), pipeline.coalescer.send, call)
            self.note(call, results, call.deadline)
            (result,) = results
        return _accepted(result)

    async def many(
        self,
        tenant_id: str,
        events: Sequence[Event | Failed],
        given: Set[int],
        call: Call,
        *,
        durable: bool = False,
    ) -> list[Result]:
        """Submit the events that have not failed; return one result per event, in order.

        Args: `given`: places of the events whose id the caller chose; `durable`: answer once they are committed.
        Raises: TenantUnknown, InvalidField, Overloaded; any later failure is a result. If the caller leaves, what has
        not been sent is not sent.
        """
        pipeline = self.pipeline(tenant_id, call)
        call.record.events = len(events)
        queue = self.queue(call) if durable else None
        batch = pipeline.serialise(events, given)
        if queue is None:
            results = await self._submit(pipeline, batch, pipeline.batches.send, call)
        else:
            results = await self._put(queue, batch, call)
        self.note(call, results, call.deadline)
        return results

    async def _put(self, queue: QueueEvents, batch: EventBatch, call: Call) -> list[Result]:
        backlog = queue.backlog(batch.tenant_id)
        backlog.take(len(batch.pending), batch.size_bytes)
        try:
            return await queue.put(batch, call.deadline)
        finally:
            backlog.give_back(len(batch.pending), batch.size_bytes)

    async def _submit(self, pipeline: TenantPipeline, batch: EventBatch, send: Send, call: Call) -> list[Result]:
        count, size_bytes = len(batch.pending), batch.size_bytes
        pipeline.backlog.take(count, size_bytes)
        try:
            return await pipeline.send_and_settle(await pipeline.claim(batch, call.deadline), send, call.deadline)
        except asyncio.CancelledError:
            self.note_left(call, batch, call.deadline)
            raise
        finally:
            pipeline.backlog.give_back(count, size_bytes)

    def note(self, call: Call, results: Sequence[Result], deadline: Deadline) -> None:
        """Note how events of a call ended. Args: `deadline`: within which they were sent."""
        note_results(call, results, deadline, self._on_results)

    def note_left(self, call: Call, batch: EventBatch, deadline: Deadline) -> None:
        """Note events of a call that was cancelled before their results."""
        note_left(call, [event.event_id for event in batch.pending], deadline, self._on_results)

    def queue(self, call: Call) -> QueueEvents:
        """Return where durable events go. Raises: StoreUnavailable if this gateway keeps none."""
        if self._queue is None:
            raise StoreUnavailable("This gateway keeps no durable events.", may_be_committed=False)
        call.record.delivery = "durable"
        return self._queue

    def stream(self, call: Call) -> EventStream:
        """Return what takes the messages of one stream."""
        return EventStream(self, call, self._clock, self._settings.stream_message_s)

    def pipeline(self, tenant_id: str, call: Call) -> TenantPipeline:
        """Return the tenant's, made at its first event. Raises: NotAllowed, TenantUnknown, InvalidField."""
        context = self._tenants.resolve(tenant_id, call)
        pipeline = self._pipelines.get(context.tenant_id)
        if pipeline is None:
            sender = EventSender(context.events, self._clock)
            pipeline = TenantPipeline(
                context=context,
                backlog=Backlog(self._settings.backlog),
                coalescer=Coalescer(sender, self._settings.coalesce),
                batches=BatchSender(sender),
                memory=self._memory,
            )
            self._pipelines[context.tenant_id] = pipeline
        return pipeline


class EventStream:
    """The messages of one stream. They begin in order and run at the same time; each ordering key keeps its order."""

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
        """Begin to submit a message once it fits; return a task with one result per event, in order.

        Begin messages one after the other. If the task is cancelled, no more of this message is sent. Args: as
        `SubmitEvents.many`.
        """
        self._count += len(events)
        self._call.record.events = self._count
        try:
            pipeline = self._submit.pipeline(tenant_id, self._call)
            queue = self._submit.queue(self._call) if durable else None
            batch = pipeline.serialise(events, given)
            backlog = queue.backlog(batch.tenant_id) if queue else pipeline.backlog
            await backlog.take_in_turn(len(batch.pending), batch.size_bytes, self._call.deadline)
        except GatewayError as error:
            return await _begun(_all_failed(events, error))
        deadline = Deadline.after(self._message_s, self._clock).earlier(self._call.deadline)
        try:
            if queue is not None:
                work = queue.put(batch, deadline)
            else:
                order = self._orders.setdefault(batch.tenant_id, Order())
                send = functools.partial(pipeline.batches.send, order=order)
                work = pipeline.send_and_settle(await pipeline.claim(batch, deadline), send, deadline)
        except BaseException:
            backlog.give_back(len(batch.pending), batch.size_bytes)
            raise

        async def finish() -> list[Result]:
            try:
                results = await work
            except GatewayError as error:
                results = await _all_failed(events, error)
            except asyncio.CancelledError:
                if queue is None:
                    self._submit.note_left(self._call, batch, deadline)
                raise
            finally:
                backlog.give_back(len(batch.pending), batch.size_bytes)
            self._submit.note(self._call, results, deadline)
            return results

        return await _begun(finish())


def _accepted(result: Result) -> Submitted:
    """Return the result of a single event. Raises: its error; OutcomeUnknown names the event's id."""
    if isinstance(result, Submitted):
        return result
    error = result.error
    if isinstance(error, OutcomeUnknown):
        named = {**error.metadata, "event_id": result.event_id}
        raise OutcomeUnknown(error.message, effect=error.effect, metadata=named) from error
    raise error


async def _begun(work: Coroutine[Any, Any, list[Result]]) -> asyncio.Task[list[Result]]:
    """Return a task that has begun, so that messages enter their order one after the other.

    A task that is cancelled before it begins would not clean up.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        await asyncio.sleep(0)
    except BaseException:
        task.cancel()
        raise
    return task


async def _all_failed(events: Sequence[Event | Failed], error: GatewayError) -> list[Result]:
    return [one if isinstance(one, Failed) else Failed(event_id=one.event_id, error=error) for one in events]
