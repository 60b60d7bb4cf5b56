"""Sends many events in as few calls as fit, and keeps the order of each ordering key (one user on one board).

With bulk calls the events are cut in their order, and a call waits for earlier calls that hold events of the same keys.
Without, each key is a row of single calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.phoenix.gamification.bulk import MAX_EVENTS
from gateway.phoenix.gamification.event_sender import (
    MAX_BULK_BYTES,
    EventSender,
    Sending,
    by_ordering_key,
    place_within,
)
from gateway.phoenix.gamification.pending_event import OrderingKey, PendingEvent
from gateway.resilience.deadline import Deadline

BULK_CALLS = 4
"""Bulk calls at once for one tenant's batches: mostly enough to hide the round trip."""


class Order:
    """What a call or stream has on its way, by ordering key: the last part with events of that key."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[OrderingKey, asyncio.Future[None]] = {}

    def enter(self, events: Sequence[PendingEvent]) -> tuple[set[asyncio.Future[None]], asyncio.Future[None]]:
        """Put a part behind the others of its keys; return what it waits for, and its own end for `leave`."""
        own = asyncio.get_running_loop().create_future()
        before = set()
        for key in {event.ordering_key for event in events}:
            earlier = self._last.get(key)
            if earlier is not None:
                before.add(earlier)
            self._last[key] = own
        return before, own

    def leave(self, events: Sequence[PendingEvent], own: asyncio.Future[None]) -> None:
        """Let the next part of each key go."""
        own.set_result(None)
        for key in {event.ordering_key for event in events}:
            if self._last.get(key) is own:
                del self._last[key]


class BatchSender:
    """Sends the batches of one tenant."""

    def __init__(self, sender: EventSender, *, calls: int = BULK_CALLS) -> None:
        """Args: `calls`: most bulk calls at once."""
        self._sender = sender
        self._places = asyncio.Semaphore(calls)

    async def send(self, sending: Sending, deadline: Deadline, order: Order | None = None) -> None:
        """Send all events. Cancelled, it sends no more.

        Args: `order`: of a stream. Its batches must be begun in their order; this enters it before it first waits.
        """
        events = sending.events
        is_bulk = self._sender.sends_bulk
        if order is None and not is_bulk:
            return await self._sender.apart(events, sending, deadline)
        cut = in_bulks(events) if is_bulk else by_ordering_key(events)
        if order is None and len(cut) == 1:
            return await self._send_part(cut[0], sending, deadline)
        order = order or Order()
        parts = [(part, *order.enter(part)) for part in cut]
        try:
            async with asyncio.TaskGroup() as group:
                for part, before, own in parts:
                    group.create_task(self._in_order(order, part, before, own, sending, deadline))
        finally:
            for part, _, own in parts:
                if not own.done():  # cancelled before its task ran
                    order.leave(part, own)
        return None

    async def _in_order(
        self,
        order: Order,
        part: Sequence[PendingEvent],
        before: set[asyncio.Future[None]],
        own: asyncio.Future[None],
        sending: Sending,
        deadline: Deadline,
    ) -> None:
        try:
            if before:
                await asyncio.wait(before)  # when this is cancelled, the earlier parts are not
            await self._send_part(part, sending, deadline)
        finally:
            order.leave(part, own)

    async def _send_part(self, part: Sequence[PendingEvent], sending: Sending, deadline: Deadline) -> None:
        if not self._sender.sends_bulk:
            return await self._sender.apart(part, sending, deadline)
        async with place_within(self._places, deadline):
            return await self._sender.together(part, sending, deadline)


def in_bulks(events: Sequence[PendingEvent]) -> list[list[PendingEvent]]:
    """Return the events, in their order, cut into what one bulk call can carry."""
    bulks: list[list[PendingEvent]] = []
    size_bytes = MAX_BULK_BYTES + 1
    for event in events:
        size_bytes += len(event.body) + 1
        if size_bytes > MAX_BULK_BYTES or len(bulks[-1]) == MAX_EVENTS:
            bulks.append([])
            size_bytes = len(event.body) + 1
        bulks[-1].append(event)
    return bulks
